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
    values: int,
    gradient: int,
    first: int,
    second: int,
    rows: int,
    columns: int,
    head: int,
    numbers: list[float],
    stream: int,
) -> None: ...
