"""Programs in place of a pickle of weights, and what is said of each."""

from __future__ import annotations

import os
import pickle

from tests.models.torch_files import END, START, name, number, state, tensor, with_attributes, word

GOOD = tensor("0", (2, 3))


class Runs:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch ran",)


# What the program is, and what is said of it.
ATTACKS: dict[str, tuple[bytes, str]] = {
    "a call of the system": (pickle.dumps(Runs(), 2), r"posix\.system, which is no part of a tensor"),
    "a name of torch that is no tensor's": (
        state({"w": name("torch", "load") + b"(" + word("x") + b"tR"}),
        r"torch\.load, which is no part of a tensor",
    ),
    "a name put together on the stack": (
        b"\x80\x04" + word("builtins") + word("eval") + b"\x93" + END,
        r"builtins\.eval, which is no part",
    ),
    "an object without a call": (
        state({"w": name("collections", "OrderedDict") + b")\x81"}),
        "the step NEWOBJ, which no weights need",
    ),
    "an object that is changed": (
        state({"w": GOOD + b"}" + word("read") + number(1) + b"sb"}),
        "it changes an object",
    ),
    "buffers of protocol 5": (b"\x80\x05\x97" + END, "the step NEXT_BUFFER"),
    "an extension": (START + b"\x82\x01" + END, "the step EXT1"),
    "a dictionary in itself": (START + b"}q\x00" + word("w") + b"h\x00s" + END, "'w' in it is no tensor"),
    "tuples so deep that their hash ends the process": (
        START + b"}(" + b")" + b"\x85" * 400_000 + b"Nu" + END,
        "keys are neither words nor numbers",
    ),
    "a memo of gigabytes": (START + b"}r\xff\xff\xff\x7f" + END, "no dictionary of tensors"),
    "a storage past the end": (state({"w": tensor("0", (3, 3))}), "'w' ends behind its storage '0'"),
    "a part past the end": (state({"w": tensor("0", (2, 3), offset=1)}), "'w' ends behind its storage"),
    "a storage that is not there": (state({"w": tensor("../0", (2, 3))}), r"behind its storage '\.\./0'"),
    "a tensor of terabytes from one number": (
        state({"w": tensor("0", (1 << 20, 1 << 20), count=6, strides=(0, 0))}),
        "'w' do not follow each other",
    ),
    "a shape below zero": (
        state({"w": tensor("0", (-2, 3), count=6)}),
        "shape of the tensor 'w' is no shape",
    ),
    "a call of what is no name": (START + word("x") + b")R" + END, "it calls what is no part of a tensor"),
    "a call of another function in a tensor with attributes": (
        state({"w": with_attributes(GOOD, called=name("collections", "OrderedDict"))}),
        "it calls _rebuild_from_type_v2 with what makes no tensor",
    ),
    "a tensor of another type": (
        state({"w": with_attributes(GOOD, kind=name("torch", "FloatStorage"))}),
        "it makes a tensor of the type FloatStorage",
    ),
    "an attribute that is called": (
        state({"w": with_attributes(GOOD, attributes=name("os", "system"))}),
        r"os\.system, which is no part of a tensor",
    ),
    "a parameter of no tensor": (
        state({"w": name("torch._utils", "_rebuild_parameter") + b"(" + b")\x88}tR"}),
        "it calls _rebuild_parameter with what makes no tensor",
    ),
    "a value beside the tensors": (START + b"}}" + END, "it ends with 2 values, and not with one"),
    "nothing": (START + END, "it ends with 0 values, and not with one"),
    "no end": (START + b"}", "pickle exhausted before seeing STOP"),
}
