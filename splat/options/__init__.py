"""What a user may ask of a run. Each option is defined here once; the command line reads this."""

from splat.options.blocking import Blocking
from splat.options.reading import Reading
from splat.options.run import MOST_PSNR, PLANES, Options
from splat.options.viewing import Viewing
from splat.options.watching import Watching

__all__ = ["MOST_PSNR", "PLANES", "Blocking", "Options", "Reading", "Viewing", "Watching"]
