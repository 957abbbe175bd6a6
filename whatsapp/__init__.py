"""A WhatsApp for anyone to run. This page is the map: the life of a message, file by file.

Alice's phone sends a text to Bob:

    → {"type":"send","id":"6f1c…","to":"bob","text":"hi"}

1.  `connection.py` has the socket. It takes the frame off it and asks `router.py`.
2.  `router.py` decodes it (`wire.py` is the grammar) and looks up state and frame in a table:
    it is `chat.py`'s.
3.  `chat.py` checks text and rate and finds the chat's `room.py`: what this instance knows
    of the chat. If that is not loaded yet, this is the one place where the frame waits.
4.  It becomes a `sending.py` and goes to the `journal.py`, which gathers what wants to be
    stored, asks each one "may you, now?" (`admit`), and appends the batch.
5.  `backends/sqlite.py` (or another one; `interfaces.py` says what they promise) commits the
    batch. The insert is what gives the message its seq, and what finds that an id was used.
6.  Durable now. The journal tells each in order (`settle`). Alice gets

        ← {"type":"sent","id":"6f1c…","chat":"alice:bob","seq":42,"time":…}

7.  `hub.py` knows Bob's sessions here. It encodes the message once and offers it to each.
8.  `session.py` pushes it if it is the next one that this device needs, and there is room in
    its window; at the end of the loop's turn each socket gets one write with all it has.
    If not, the chat is *behind*, and `catchup.py` reads it from the log when Bob's device
    connects, or has room again. There is no queue per user, and no second way.

        ← {"type":"message","chat":"alice:bob","seq":42,"from":"alice","text":"hi",…}

9.  Bob's phone answers `received`: `acks.py` moves his cursors (`cursors.py` writes them,
    a little later, many at once), and `receipts.py` tells Alice.

On several instances (`cluster.py`): what is committed here is told to those where a reader is
(`hints.py`, over `peers.py`), and goes on there at step 7; `looks.py` reads again what may have
been missed. `backends/mongo.py` is the store, `backends/zookeeper.py` knows who is where.

What happens on the way is measured by `watch.py` (every call of a store), counted in `metrics.py`
and shown by `gauges.py`; `whereabouts.py` tells from the store where a message is.

Beside this road: `group.py` (a change of a group is an entry like a text, in the same order),
`presence.py`, `auth.py` and `people.py`, `history.py` (reading), `retention.py` (forgetting).
`web.py` and `rest.py` are HTTP, `contract.py` publishes both contracts from the structs that
decode them, `app.py` builds everything, `cli.py` and `serve.py` start it. `client.py` is the
other side.

The core (session, room, hub, journal, chat, sending, group, presence, auth …) has no event
loop, no clock and no chance of its own: `clock.py` is where these come in, so that
`tests/faults/` runs the same code a thousand times a minute from seeds.
"""

__version__ = "0.1.0"
