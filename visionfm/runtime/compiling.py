"""Where torch's compiler keeps what it makes: in a folder of this process alone, which ends with it.

Its own folder serves all processes of a user, and a process killed as it writes there leaves a library that none of
them can load any more: every later run would end by an error until a person removes that folder.
"""

import atexit
import os
import shutil
import tempfile
from functools import cache

FOLDER = "TORCHINDUCTOR_CACHE_DIR"


@cache
def keep_apart() -> None:
    """Give the compiler a folder of its own, but where a person's environment names one."""
    from torch._inductor import codecache
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    if os.environ.get(FOLDER, default_cache_dir()) != default_cache_dir():  # torch sets the variable as it is imported
        return
    folder = tempfile.mkdtemp(prefix="visionfm-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[FOLDER] = folder
    codecache._HEADER_DIR = f"{folder}/precompiled_headers"  # asks no variable
