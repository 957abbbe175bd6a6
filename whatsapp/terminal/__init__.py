"""`whatsapp chat`: a client in the terminal.

    app.py        which login, which screen; the end
    login.py      the screen that asks who you are
    chats.py      the screen with the chats; dialogs.py and group.py on top of it
    commands.py   what begins with a slash
    widgets.py    the conversation and the composer
    drawing.py    how a conversation looks; lines.py: what is around it
    session.py    the client library feeds a State (state.py); no screen

It is a client like any other: it knows the protocol, not the server.
"""

from whatsapp.terminal.app import ChatApp, run

__all__ = ["ChatApp", "run"]
