"""How it goes on with more of everything: readers of one mount, clients of one server, bytes of an image."""

import many_clients
import many_readers
import sizes


def measure(workplace, rounds, clock):
    return {
        "readers": {str(count): samples.json() for count, samples in many_readers.measure(workplace, rounds, clock).items()},
        "clients": many_clients.measure(workplace, rounds, clock).json(),
        "sizes": {label: samples.json() for label, samples in sizes.measure(workplace, rounds, clock).items()},
    }
