"""The fields that a sweep on a grid aims at."""

from dilsearch.errors import SweepError
from dilsearch.space import SearchSpace
from dilsearch.space.sweep_section import GRID_EXPECTS, grid_targets_px


def parse_grid(text: str) -> tuple[int, ...]:
    """Target fields of a grid FIRST:LAST:STEP in px; the last is included where it is met.

    Raises:
        SweepError: If the text is no such grid.

    Source: RegSeg (Gao 2022), Fig. 5, tries 500:3500:500.
    """
    try:
        return grid_targets_px(text)
    except ValueError as error:
        raise SweepError(f'grid "{text}" {error}; give {GRID_EXPECTS}') from None


def grid_of(space: SearchSpace, lowest_px: int) -> tuple[int, ...]:
    """Target fields of a space: those of its grid, or evenly spaced up to twice the needed field.

    Beyond twice the needed field there is nothing more to see, and below the field that the lowest
    rates have there is nothing to choose.

    Args:
        space: What it says of sweeps, and the field that its task needs.
        lowest_px: Field at the lowest rates, in px.

    Raises:
        SweepError: If the space has no grid and its lowest rates see twice the needed field.
    """
    if space.sweep.grid is not None:
        return grid_targets_px(space.sweep.grid)
    last_px, steps = 2 * space.needed_px, space.sweep.targets - 1
    if lowest_px >= last_px:
        raise SweepError(
            f"{space.name}: the field at the lowest rates, {lowest_px} px, is not below twice the "
            f"needed field, {last_px} px, so that no grid lies between them; give one with --grid"
        )
    spaced = (lowest_px + step * (last_px - lowest_px) / steps for step in range(steps + 1))
    return tuple(dict.fromkeys(round(target_px) for target_px in spaced))
