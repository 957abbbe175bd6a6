"""`whatsapp bench`: measures a server, and checks everything that it measures.

    command.py    the options                    report.py    what is printed, and the JSON
    running.py    scenarios times runs            figures.py   percentiles, medians, spreads
    server.py     a server of our own, by pid    process.py   CPU and memory from /proc
    driver.py     the generator: one epoll       frames.py    frames made and read as bytes
    peer.py       one device on that epoll       ledger.py    nothing lost, doubled, misordered
    people.py     accounts over REST             filling.py   a store full of messages
    direct.py group.py idle.py connecting.py sync.py searching.py mixed.py starting.py
    overload.py cluster.py                       plot.py      SVG, from the JSON

CPU per message of the server process is the figure to watch: it hardly depends on what else
the machine does, and tells how many messages a core is good for.

Why a generator of its own and not `client.py`: on the same machine it takes from what it
measures. So there is no event loop in it, no task and no JSON decoder on the hot path: bytes
are searched for the few members that matter, and frames are made from prepared pieces.
"""
