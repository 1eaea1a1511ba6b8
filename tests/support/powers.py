"""Root reads and writes whatever its modes say; tests of permissions give that power up, in a process of their own."""

import ctypes
import os

_VERSION_3 = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2
_DROP_FROM_BOUNDS = 24  # prctl(2): what is started later does not get the power back


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Powers(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def give_up_override() -> None:
    """From here on the modes of files hold for this process too, and for those that it starts (capabilities(7)).

    Raises:
        OSError: the kernel refuses.
    """
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, powers = _Header(_VERSION_3, 0), (_Powers * 2)()
    if libc.capget(ctypes.byref(header), powers) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    for power in (_DAC_OVERRIDE, _DAC_READ_SEARCH):
        libc.prctl(_DROP_FROM_BOUNDS, power, 0, 0, 0)
    kept = ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH)
    for name in ("effective", "permitted", "inheritable"):
        setattr(powers[0], name, getattr(powers[0], name) & kept)
    if libc.capset(ctypes.byref(header), powers) != 0:
        raise OSError(ctypes.get_errno(), "capset")
