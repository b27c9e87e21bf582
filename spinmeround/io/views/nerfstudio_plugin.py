"""A dataparser for nerfstudio that reads our folders and leaves their poses as they are.

nerfstudio finds ``dataparser`` by an entry point of the package's metadata; nothing is imported before.
"""

from __future__ import annotations

from typing import Any

from spinmeround.errors import MissingDependencyError

DESCRIPTION = "Folders of spmr-views: nerfstudio's own parser, told to leave poses, centre and scale as they are."


def __getattr__(name: str) -> Any:
    if name != "dataparser":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _dataparser()


def _dataparser() -> Any:
    """Build the parser of ``ns-train METHOD --data views/ spinmeround-data``."""
    try:
        from nerfstudio.data.dataparsers.nerfstudio_dataparser import (  # pyright: ignore[reportMissingImports]
            NerfstudioDataParserConfig,
        )
        from nerfstudio.plugins.registry_dataparser import (  # pyright: ignore[reportMissingImports]
            DataParserSpecification,
        )
    except ImportError as error:
        raise MissingDependencyError(f"nerfstudio is not installed ({error}); pip install nerfstudio") from error
    config = NerfstudioDataParserConfig(orientation_method="none", center_method="none", auto_scale_poses=False)
    return DataParserSpecification(config=config, description=DESCRIPTION)
