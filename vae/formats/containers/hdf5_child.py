"""Lists an HDF5 file and reads its numbers, in a process of its own: `python -P hdf5_child.py`.

The library that reads HDF5 is C code, which a file made to harm can crash or fill; so it runs where
that ends nothing else, with limits on memory and time. Nothing of `vae` is imported here.

Arguments: the file, and "list" or "numbers". Standard output: eight bytes, how long the JSON that
follows is; then, for "numbers", every array of floating point as little-endian float32, in the
order of the list.
"""

import json
import os
import sys
from typing import Any, BinaryIO

_MAX_BYTES = 1_500_000_000  # of memory: address space, which libraries take much of
_MAX_SECONDS = 30
_MAX_OBJECTS = 5_000
_MAX_DEPTH = 16
_MAX_AXES = 8
_MAX_NUMBERS = 2**27
_MAX_CHUNK_BYTES = 2**26
_MAX_ATTRIBUTE_BYTES = 2**25
_FILTERS = {1, 2, 3}  # deflate, shuffle, fletcher32: those of the library itself
_ATTRIBUTES = ("layer_names", "weight_names", "model_config", "name", "keras_version", "backend")


class Refused(Exception):
    """What a person is told."""


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    for what, most in ((resource.RLIMIT_AS, _MAX_BYTES), (resource.RLIMIT_CPU, _MAX_SECONDS)):
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):  # macOS knows no limit of the first kind
            pass


class _Lister:
    def __init__(self, h5py: Any) -> None:
        self.h5py = h5py
        self.arrays: list[Any] = []
        self.listed: list[dict[str, Any]] = []
        self.attributes: dict[str, dict[str, Any]] = {}
        self._seen: set[int] = set()
        self._numbers = 0
        self._objects = 0

    def group(self, group: Any, path: str, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise Refused("its groups are nested deeper than a network's")
        self._seen.add(self.h5py.h5o.get_info(group.id).addr)
        self.attributes[path] = self._attributes(group)
        for name in group:
            self._objects += 1
            if self._objects > _MAX_OBJECTS:
                raise Refused("it holds more parts than a network has")
            link = group.get(name, getlink=True)
            if type(link) is not self.h5py.HardLink:
                raise Refused("it holds a link to another place or another file")
            inner = group[name]
            address = self.h5py.h5o.get_info(inner.id).addr
            if address in self._seen:
                raise Refused("it holds a part twice or in itself")
            here = f"{path}/{name}" if path else str(name)
            if isinstance(inner, self.h5py.Group):
                self.group(inner, here, depth + 1)
            elif isinstance(inner, self.h5py.Dataset):
                self._seen.add(address)
                self._dataset(inner, here, address)

    def _dataset(self, array: Any, path: str, address: int) -> None:
        shape, dtype = array.shape, array.dtype
        if shape is None or dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
            return
        if len(shape) > _MAX_AXES:
            raise Refused("an array has more axes than weights have")
        self._numbers += array.size
        if self._numbers > _MAX_NUMBERS:
            raise Refused(f"it promises more than {_MAX_NUMBERS:,} numbers")
        if array.is_virtual or array.external:
            raise Refused("the numbers of an array are in another file")
        n_bytes = array.size * dtype.itemsize
        properties = array.id.get_create_plist()
        filters = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
        if not filters <= _FILTERS:
            raise Refused("an array is compressed in a way that weights are not")
        if array.chunks is not None:
            chunk = dtype.itemsize
            for size in array.chunks:
                chunk *= size
            if chunk > _MAX_CHUNK_BYTES:
                raise Refused("an array is stored in larger pieces than weights are")
        held = array.id.get_storage_size()
        # Compressed numbers come to more than they take; a thousand times more are no weights.
        if n_bytes > (1000 * held if filters else held):
            raise Refused(f"an array promises {n_bytes:,} bytes and the file holds {held:,}")
        self.arrays.append(array)
        self.listed.append({"path": path, "shape": list(shape), "address": address})

    def _attributes(self, group: Any) -> dict[str, Any]:
        found = {}
        names = list(group.attrs)[:1000]
        for name in names:
            # A list that is too long for one attribute is in several: layer_names0, layer_names1.
            if not isinstance(name, str) or name.rstrip("0123456789") not in _ATTRIBUTES:
                continue
            attribute = group.attrs.get_id(name)
            size = attribute.dtype.itemsize
            for n in attribute.shape or ():
                size *= n
            if size > _MAX_ATTRIBUTE_BYTES:
                raise Refused("an attribute is larger than a network's description")
            value = _text(group.attrs[name])
            if value is not None:
                found[name] = value
        return found


def _text(value: Any) -> Any:
    """An attribute as text or a list of texts; None if it is neither."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    if hasattr(value, "tolist") and getattr(value, "ndim", 0) == 1:
        texts = [_text(item) for item in value.tolist()]
        return texts if all(isinstance(text, str) for text in texts) else None
    return None


def _run(path: str, what: str, out: BinaryIO) -> None:
    import h5py

    answer: dict[str, Any]
    arrays: list[Any] = []
    try:
        file = h5py.File(path, "r", rdcc_nbytes=1 << 20)
        lister = _Lister(h5py)
        lister.group(file["/"], "", 0)
        answer = {"arrays": lister.listed, "attributes": lister.attributes}
        arrays = lister.arrays
    except Refused as error:
        answer = {"refused": str(error)}
    except Exception as error:  # whatever the library met
        answer = {"damaged": f"{type(error).__name__}: {error}"[:200]}
    text = json.dumps(answer).encode("ascii")
    out.write(len(text).to_bytes(8, "little") + text)
    for array in arrays if what == "numbers" else ():
        out.write(array[()].astype("<f4").tobytes())
    out.flush()


if __name__ == "__main__":
    # No code from elsewhere is taken as a filter.
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    _limit()
    _run(sys.argv[1], sys.argv[2], sys.stdout.buffer)
