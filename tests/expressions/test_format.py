# SPDX-License-Identifier: GPL-2.0-or-later
"""Formats of printf against the C library's."""

import ctypes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from armprobe.expressions.format import Format, FormatError
from tests.expressions.test_evaluate import WORDS, Here


def c_printf(text: bytes, *values: int) -> str:
    buffer = ctypes.create_string_buffer(4096)
    ctypes.CDLL(None).snprintf(buffer, ctypes.c_size_t(4096), text, *map(ctypes.c_uint64, values))
    return buffer.value.decode("latin-1")


@given(
    st.text("-+ #0", max_size=3),
    st.one_of(st.just(""), st.integers(1, 30).map(str)),
    st.one_of(st.just(""), st.integers(0, 20).map(lambda n: f".{n}"), st.just(".")),
    st.sampled_from(["", "hh", "h", "l", "ll", "j", "z", "t"]),
    st.sampled_from("diouxX"),
    WORDS,
)
@example("#", "", "", "", "o", 0)
@example("#", "", ".3", "", "o", 8)
def test_integers_are_printed_as_in_c(flags: str, width: str, precision: str, size: str, letter: str, n: int) -> None:
    form = f"<%{flags}{width}{precision}{size}{letter}>".encode()
    assert Format(form + b"\0").text([n], Here().read) == c_printf(form, n)


@pytest.mark.parametrize("form", ["%c", "%5c", "%-5c|", "%p", "%20p", "100%%", "a%%%dz"])
@pytest.mark.parametrize("value", [0x41, 0x1234567890])
def test_other_conversions_are_printed_as_in_c(form: str, value: int) -> None:
    values = [value] * (form.count("%") - 2 * form.count("%%"))
    assert Format(form.encode() + b"\0").text(values, Here().read) == c_printf(form.encode(), *values)


@pytest.mark.parametrize(
    "text", [b"%q\0", b"%\0", b"%f\0", b"%99999d\0", b"%.99999d\0", b"\\q\0", b"\\\0", b"%*d\0", b"%n\0"]
)
def test_formats_that_cannot_be_used(text: bytes) -> None:
    with pytest.raises(FormatError):
        Format(text)


@example(b"\\8")
@given(st.binary(max_size=30))
def test_whatever_the_format_is(text: bytes) -> None:
    try:
        form = Format(text + b"\0")
    except FormatError:
        return
    assert isinstance(form.text([0] * form.count, lambda address, length: b"\0" * length), str)
