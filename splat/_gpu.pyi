def photometric_scratch_bytes(width: int, height: int) -> int: ...
def photometric(
    image: int,
    target: int,
    bytes: int,
    v_image: int,
    scratch: int,
    loss: int,
    width: int,
    height: int,
    ssim_weight: float,
    stream: int,
) -> None: ...
def adam(
    arrays: list[int],
    rows: int,
    columns: int,
    head: int,
    active: list[int],
    numbers: list[float],
    half: bool,
    seed: int,
    stream: int,
) -> None: ...
