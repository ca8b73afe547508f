def threads() -> int: ...
def set_threads(count: int) -> None: ...
def forget_threads() -> None: ...
def stage_seconds() -> list[tuple[str, float]]: ...
def seconds() -> float: ...
def best_isa() -> str: ...
def has_isa(isa: str) -> bool: ...

class Frame:
    def __init__(self, isa: str) -> None: ...
    def forward(
        self,
        scene: list[int],
        n: int,
        sh_degree: int,
        coefficients: int,
        features: int,
        view: list[float],
        width: int,
        height: int,
        antialiased: bool,
        absolute: bool,
        depth: bool,
        numbers: list[float],
        out: list[int],
        half_colors: bool,
    ) -> None: ...
    def backward(
        self, read: list[int], write: list[int], maps: int, map_count: int, sums: int
    ) -> None: ...
    def survey(
        self, image: int, maps: int, map_count: int, scores: int, strongest: int
    ) -> None: ...
    @property
    def bytes(self) -> int: ...

def photometric(
    isa: str,
    image: int,
    target: int,
    bytes: int,
    v_image: int,
    width: int,
    height: int,
    ssim_weight: float,
) -> float: ...
def adam(
    isa: str,
    arrays: list[int],
    rows: int,
    columns: int,
    head: int,
    active: list[int],
    numbers: list[float],
    degree: int,
    half: bool,
    seed: int,
    half_values: bool,
) -> None: ...
def activate(
    isa: str, log_scales: int, logits: int, scales: int, opacities: int, n: int
) -> list[float]: ...
def activate_backward(isa: str, arrays: list[int], n: int, v_means: list[float]) -> None: ...
def tone(isa: str, image: int, pixels: int, map: list[float], out: int) -> None: ...
def tone_backward(isa: str, arrays: list[int], pixels: int, map: list[float]) -> list[float]: ...
def errors(isa: str, image: int, target: int, bytes: int, pixels: int, out: int) -> None: ...
def walk(
    isa: str, arrays: list[int], n: int, every: int, phase: int, numbers: list[float], seed: int
) -> None: ...
def add(isa: str, values: int, delta: int, n: int) -> None: ...

class Decoding:
    def __init__(self, isa: str) -> None: ...
    def count(
        self,
        arrays: list[int],
        weights: list[int],
        sizes: list[int],
        widths: list[int],
        centre: list[float],
        distance: bool,
        keep: bool,
    ) -> int: ...
    def write(self, out: list[int]) -> None: ...
    def backward(self, read: list[int], write: list[int]) -> None: ...
    @property
    def bytes(self) -> int: ...

class Field:
    def __init__(self, isa: str) -> None: ...
    def forward(self, arrays: list[int], sizes: list[int], beta: float) -> None: ...
    def backward(self, read: list[int], write: list[int]) -> None: ...
    @property
    def bytes(self) -> int: ...

def sight(
    isa: str,
    positions: int,
    reach: int,
    n: int,
    view: list[float],
    width: int,
    height: int,
    near: float,
    seen: int,
) -> int: ...
def sight_rows(isa: str, seen: int, n: int, rows: int) -> None: ...
