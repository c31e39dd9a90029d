"""What all tests need."""

import signal

# A job in the background may have been started with Ctrl-C ignored, and its children would ignore it too: the players
# and trainers that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
