"""`python -m whatsapp` is `whatsapp`."""

from whatsapp.cli import main

main(prog_name="whatsapp")
