"""The interface files: they parse, the reference parser agrees, and messages are checked against them."""

from __future__ import annotations

import math
import re
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from varlink.scanner import Interface as ReferenceInterface

from voiceauthd.errors import VoiceauthError
from voiceauthd.protocol import errors
from voiceauthd.protocol.interface import (
    ANSWER_NEEDED,
    PROOF,
    STREAM_ONLY,
    VARLINK,
    VOICEAUTHD,
    Interface,
    MismatchError,
    load,
)
from voiceauthd.protocol.varlink_language import (
    SCALARS,
    Array,
    Declarations,
    Dictionary,
    Enum,
    InterfaceError,
    Named,
    Nullable,
    Scalar,
    Struct,
    Type,
    parse,
)

OURS = load(VOICEAUTHD)

SMALL = """# about
interface org.example.small
type Colour (red, green)
type Box (colour: Colour, lid: ?Colour, sizes: []int, labels: [string]string)
method Put(box: Box, weight: ?float, count: int, extra: ?object) -> (ok: bool)
method Nothing() -> ()
error Full (room: int)
"""


def small():
    return Interface(SMALL, parse(SMALL))


def box(**changes):
    return {"colour": "red", "sizes": [1], "labels": {"a": "b"}} | changes


def values(kind: Type, declared: Declarations) -> st.SearchStrategy:
    """Return a strategy for values of a type."""
    match kind:
        case Scalar("bool"):
            return st.booleans()
        case Scalar("int"):
            return st.integers(-(2**63), 2**63 - 1)
        case Scalar("float"):
            return st.floats(allow_nan=False, allow_infinity=False)
        case Scalar("string"):
            return st.text(max_size=5)
        case Scalar(_):
            return st.just({"a": 1})
        case Named(name):
            return values(declared.types[name], declared)
        case Nullable(element):
            return st.none() | values(element, declared)
        case Array(element):
            return st.lists(values(element, declared), max_size=2)
        case Dictionary(element):
            return st.dictionaries(st.text(max_size=3), values(element, declared), max_size=2)
        case Enum(words):
            return st.sampled_from(words)
        case Struct(fields):
            required = {k: values(v, declared) for k, v in fields.items() if not isinstance(v, Nullable)}
            optional = {k: values(v, declared) for k, v in fields.items() if isinstance(v, Nullable)}
            return st.fixed_dictionaries(required, optional=optional)
    raise AssertionError(kind)


class TestCommittedFiles:
    @pytest.mark.parametrize("name", [VOICEAUTHD, PROOF, VARLINK])
    def test_the_reference_parser_reads_the_same_members(self, name):
        ours, reference = load(name), ReferenceInterface(load(name).text)
        declared = [*ours.declared.types, *ours.methods, *ours.errors]
        assert reference.name == ours.name == name
        assert set(reference.members) == set(declared)

    def test_every_error_named_in_the_code_is_declared(self):
        names = [value for key, value in vars(errors).items() if key.isupper() and isinstance(value, str)]
        assert len(names) > 15
        for name in names:
            interface, _, short = name.rpartition(".")
            assert short in load(interface).errors, name

    def test_every_declared_error_is_named_in_the_code(self):
        known = {value for value in vars(errors).values() if isinstance(value, str)}
        assert {f"{VOICEAUTHD}.{name}" for name in OURS.errors} <= known

    def test_every_error_except_internal_has_a_row(self):
        rows = {row.error for row in errors.TABLE}
        for interface in (OURS, load(PROOF), load(VARLINK)):
            for name in interface.errors:
                assert f"{interface.name}.{name}" in rows | {errors.INTERNAL}

    def test_a_rows_text_uses_declared_fields_only(self):
        for row in errors.TABLE:
            interface, _, short = row.error.rpartition(".")
            declared = load(interface).errors[short].fields
            used = {field for _, field, _, _ in Formatter().parse(row.text) if field is not None}
            assert used <= set(declared), row.error
            numbers = {Scalar("int"), Scalar("float")}
            values = {name: 4711 if kind in numbers else f"<{name}>" for name, kind in declared.items()}
            text = row.text.format_map(values)
            assert all(str(values[name]) in text for name in used), row.error

    def test_no_reason_maps_to_two_errors(self):
        reasons = [reason for row in errors.TABLE for reason in row.reasons]
        assert len(reasons) == len(set(reasons))

    def test_methods_with_special_rules_exist(self):
        assert set(OURS.methods) >= STREAM_ONLY | ANSWER_NEEDED


class TestLanguage:
    def test_every_kind_of_type_is_parsed(self):
        declared = parse(SMALL)
        assert declared.name == "org.example.small"
        assert declared.types["Colour"] == Enum(("red", "green"))
        fields = declared.methods["Put"].parameters.fields
        assert fields["weight"] == Nullable(Scalar("float"))
        assert isinstance(declared.types["Box"], Struct)
        assert declared.types["Box"].fields["labels"] == Dictionary(Scalar("string"))
        assert declared.errors["Full"] == Struct({"room": Scalar("int")})

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("", 1),
            ("interface nodots", 1),
            ("interface a.b\nmethod lower() -> ()", 2),
            ("interface a.b\nmethod M() ()", 2),
            ("interface a.b\nmethod M(a: int -> ()", 2),
            ("interface a.b\nmethod M(a: int, a: int) -> ()", 2),
            ("interface a.b\n\nmethod M(a: Missing) -> ()", 3),
            ("interface a.b\nmethod M(a: ??int) -> ()", 2),
            ("interface a.b\nmethod M(a, b) -> ()", 2),
            ("interface a.b\nmethod M(a: int, b) -> ()", 2),
            ("interface a.b\nerror E ()\nerror E ()", 3),
            ("interface a.b\nthing E ()", 2),
            ("interface a.b\ntype T (a: integer)", 2),
            ("interface a.b\ntype T (a: int) %", 2),
            ("interface a.b\nmethod", 2),
        ],
    )
    def test_a_mistake_is_reported_with_its_line(self, text, line):
        with pytest.raises(InterfaceError, match=f"^line {line}:"):
            parse(text)

    @given(
        st.text(max_size=60)
        | st.lists(
            st.sampled_from(
                [*SCALARS, "interface a.b", "type", "method", "error", "M", "a", "(", ")", ":", ",", "->", "?", "[]",
                 "[string]", "\n", "# x\n", "-", "."]
            ),
            max_size=30,
        ).map(" ".join)
    )  # fmt: skip
    def test_any_text_is_parsed_or_refused(self, text):
        try:
            declared = parse(text)
        except InterfaceError as problem:
            found = re.match(r"line (\d+): ", str(problem))
            assert found is not None
            assert 1 <= int(found[1]) <= text.count("\n") + 1
        else:
            uncommented = re.sub(r"#[^\n]*", "", text)
            assert uncommented.split()[:2] == ["interface", declared.name]

    @pytest.mark.parametrize("opening", ["(a: ", "[]", "[string]", "?[]"])
    def test_deeply_nested_types_are_refused_without_recursion(self, opening):
        with pytest.raises(InterfaceError, match="deep"):
            parse("interface a.b\nmethod M(a: " + opening * 5000)


class TestCalls:
    def test_absent_nullables_are_none(self):
        given = small().check_call("Put", {"box": box(), "count": 3})
        assert given == {"box": box(lid=None), "weight": None, "count": 3, "extra": None}

    @pytest.mark.parametrize(
        ("parameters", "named"),
        [
            ({}, "box"),
            ({"box": box(), "count": 1, "colour": 1}, "colour"),
            ({"box": box(), "count": True}, "count"),
            ({"box": box(), "count": 1.0}, "count"),
            ({"box": box(), "count": None}, "count"),
            ({"box": box(), "count": 2**63}, "count"),
            ({"box": box(), "count": 1, "weight": "x"}, "weight"),
            ({"box": box(), "count": 1, "weight": math.nan}, "weight"),
            ({"box": box(), "count": 1, "weight": 10**400}, "weight"),
            ({"box": box(), "count": 1, "extra": []}, "extra"),
            ({"box": [], "count": 1}, "box"),
            ({"box": box(colour="blue"), "count": 1}, "box.colour"),
            ({"box": box(lid="blue"), "count": 1}, "box.lid"),
            ({"box": box(sizes=[1, "x"]), "count": 1}, "box.sizes[1]"),
            ({"box": box(sizes="x"), "count": 1}, "box.sizes"),
            ({"box": box(labels={"a": 1}), "count": 1}, "box.labels.a"),
            ({"box": box(labels=[]), "count": 1}, "box.labels"),
            ({"box": box(more=1), "count": 1}, "box.more"),
            ({"box": {"colour": "red"}, "count": 1}, "box.sizes"),
        ],
    )
    def test_the_first_wrong_parameter_is_named(self, parameters, named):
        with pytest.raises(MismatchError) as caught:
            small().check_call("Put", parameters)
        assert caught.value.parameter == named

    def test_a_refusal_does_not_repeat_the_value(self):
        with pytest.raises(MismatchError) as caught:
            OURS.check_call("SendAudio", {"claim": "c", "pcm": {"secret": "sound"}})
        assert "sound" not in str(caught.value)

    def test_an_int_is_a_float(self):
        assert small().check_call("Put", {"box": box(), "count": 1, "weight": 2})["weight"] == 2.0

    @given(st.data())
    def test_valid_messages_are_accepted(self, data):
        method = data.draw(st.sampled_from(sorted(OURS.methods)))
        for struct, check in (
            (OURS.methods[method].parameters, OURS.check_call),
            (OURS.methods[method].reply, OURS.check_reply),
        ):
            message = data.draw(values(struct, OURS.declared))
            checked = check(method, message)
            assert set(checked) == set(struct.fields)
            assert check(method, checked) == checked

    @given(st.sampled_from(sorted(OURS.methods)), st.dictionaries(st.text(max_size=8), st.none() | st.integers()))
    def test_any_mismatch_names_a_parameter(self, method, parameters):
        fields = OURS.methods[method].parameters.fields
        try:
            checked = OURS.check_call(method, parameters)
        except MismatchError as problem:
            named = problem.parameter
        else:
            assert set(checked) == set(fields)
            return
        assert named in fields or named in parameters


class TestErrors:
    def test_an_error_means_the_same_to_the_daemon_and_the_client(self):
        for row in errors.TABLE:
            interface, _, short = row.error.rpartition(".")
            fields = {name: "x" for name in load(interface).errors[short].fields if name != "reason"}
            raised = errors.exception_for_error(row.error, fields)
            assert type(raised) is row.kind, row.error
            assert errors.row_for_exception(raised) == row

    def test_an_error_without_its_fields_is_still_that_error(self):
        raised = errors.exception_for_error(errors.NOT_ENROLLED, {})
        assert raised is not None
        assert "NotEnrolled" in str(raised)

    def test_an_unknown_error_has_no_exception(self):
        assert errors.exception_for_error("org.example.Strange", {}) is None
        assert errors.row_for_exception(VoiceauthError("x")) is None
