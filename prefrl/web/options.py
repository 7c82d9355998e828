"""How a page is served."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PageOptions:
    """Who may come in, at which address, and what labellers are asked beyond the run's own queries."""

    host: str = "127.0.0.1"
    """Address to listen at; any but a loopback address needs invitations, or `open_to_all`."""
    port: int | None = None
    """None: that of the last time, or the first free one from 8000 on; 0: that of the last time, or any free one."""
    open_browser: bool = True
    overlap: float = 0.0
    """Share of the queries that two labellers answer: their agreement."""
    repeats: float = 0.0
    """Share of a labeller's answers after which the pair comes again, with its sides swapped: the labeller's own."""
    open_to_all: bool = False
    """Whoever reaches the address may label, under any name."""
    allow_hosts: tuple[str, ...] = ()
    """Further names by which browsers may call the server: those of a proxy in front of it."""
    invite: tuple[str, ...] = ()
    """Labellers who get a new link each; the one named "admin" may see how all of them label."""
    revoke: tuple[str, ...] = ()
    """Labellers whose links stop working."""

    def __post_init__(self) -> None:
        for name in ("overlap", "repeats"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share in [0, 1], not {getattr(self, name)}")
        if self.port is not None and not 0 <= self.port < 2**16:
            raise ValueError(f"port must be below 65536, not {self.port}")
