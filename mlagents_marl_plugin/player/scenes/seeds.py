"""Seeds of areas that are environments of their own."""

import numpy as np

_RANGE = 2**31  # what engines that read a signed int take too


def area_seed(seed: int, area: int) -> int:
    """An area's seed, in [0, 2^31). Area 0 has the scene's own, so that it plays what its library plays.

    mlagents gives its workers consecutive seeds. So the other areas draw theirs from both numbers: ``seed + area``
    would make area 1 of one worker play what area 0 of the next does.
    """
    if area == 0:
        return seed % _RANGE
    return int(np.random.SeedSequence([seed % 2**32, area]).generate_state(1)[0]) % _RANGE
