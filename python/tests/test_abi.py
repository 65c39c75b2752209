"""The declarations for ctypes are those of the header and of the library."""

import ctypes
import re
import shutil
import subprocess
import threading

from conftest import ROOT, skip

import tenon
from tenon import _abi as abi
from tenon import _library


def structs():
    return [kind for kind in vars(abi).values() if isinstance(kind, type) and issubclass(kind, ctypes.Structure)][1:]


def test_every_exported_function_is_declared():
    exports = (ROOT / "host" / "capi" / "exports.txt").read_text(encoding="utf-8").split()
    assert sorted(abi.FUNCTIONS) == exports


def test_structs_have_the_sizes_and_offsets_that_a_c_compiler_gives_them(tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        skip("there is no C compiler")
    lines, expected = [], []
    for kind in structs():
        lines.append(f'printf("%zu\\n", sizeof({kind.__name__}));')
        expected.append(ctypes.sizeof(kind))
        for name, _ in kind._fields_:
            lines.append(f'printf("%zu\\n", offsetof({kind.__name__}, {name}));')
            expected.append(getattr(kind, name).offset)
    source = tmp_path / "layout.c"
    source.write_text('#include <stdio.h>\n#include "tenon.h"\nint main(void) {\n' + "\n".join(lines) + "\n}\n")
    program = tmp_path / "layout"
    subprocess.run([compiler, "-I", ROOT / "include", source, "-o", program], check=True)
    printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()
    assert len(structs()) >= 5
    assert [int(number) for number in printed] == expected


def test_constants_and_version_are_those_of_the_library():
    version = _library.lib.tenon_version()
    assert version >> 16 == abi.TENON_VERSION_MAJOR and version >> 8 & 0xFF == abi.TENON_VERSION_MINOR
    assert _library.lib.tenon_version_string().decode() == tenon.__version__
    errors = {name: value for name, value in vars(abi).items() if name.startswith("TENON_E_")}
    assert len(errors) >= 25
    for name, value in errors.items():
        assert _library.lib.tenon_status_name(value).decode() == name


def test_every_detail_that_errors_have_is_asked_for():
    sources = [path for folder in ("host", "plugins") for path in (ROOT / folder).glob("*/src/**/*.rs")]
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    used = set(re.findall(r'\.(?:with_)?detail\("([a-z_]+)"', text))
    assert len(used) >= 15
    assert used <= set(_library.DETAILS)


def test_every_option_setter_and_the_blocking_run_work_from_python(session):
    # The package needs one setter and no tenon_run; another caller through ctypes may need the others.
    lib, call = _library.lib, _library.call
    options, request, result = abi.tenon_options(), abi.tenon_request(), abi.tenon_result()
    call(lib.tenon_options_new, ctypes.byref(options))
    call(lib.tenon_options_set_integer, options, b"max_tokens", 2)
    call(lib.tenon_options_set_number, options, b"temperature", 0.5)
    call(lib.tenon_options_set_bool, options, b"tokens", 1)
    call(lib.tenon_options_set_string, options, b"grammar", b"root ::= x")
    call(lib.tenon_options_set_json, options, b"grammar", b"null")
    call(lib.tenon_request_new, b"generate", ctypes.byref(request))
    call(lib.tenon_request_add_text, request, None, "ä b c".encode())
    call(lib.tenon_request_set_options, request, options)
    call(lib.tenon_run, session._handle, request, ctypes.byref(result))
    assert lib.tenon_result_text(result).decode() == "ä b "
    assert lib.tenon_result_text_size(result) == 5
    for free, handle in (
        (lib.tenon_options_free, options),
        (lib.tenon_request_free, request),
        (lib.tenon_result_free, result),
    ):
        free(handle)
        free(handle)
    assert lib.tenon_result_text(result) is None


def test_a_wakeup_function_of_python_is_called_when_there_is_something_to_read(session):
    lib, woken = _library.lib, threading.Event()
    wakeup = abi.tenon_wakeup_fn(lambda _data: woken.set())
    with session.stream(tenon.Request.generate("a b c", delay_ms=1)) as stream:
        _library.call(lib.tenon_stream_set_wakeup, stream._handle, wakeup, None)
        while not stream.ended:
            assert woken.wait(60)
            woken.clear()
            while stream.poll() is not None:
                pass
        assert lib.tenon_stream_is_ready(stream._handle) == 1
        _library.call(lib.tenon_stream_set_wakeup, stream._handle, abi.tenon_wakeup_fn(), None)


def test_a_plugin_that_is_loaded_by_other_means_can_be_registered(places):
    (folder,) = places.pop("plugin_dirs")
    entry = ctypes.CDLL(str(next(folder.glob("lib*")))).tenon_plugin_entry_v1
    with tenon.Engine(**places) as engine:
        _library.call(_library.lib.tenon_engine_register_plugin, engine._handle, ctypes.cast(entry, abi.tenon_entry_fn))
        with engine.load("echo") as model, model.session() as session:
            assert session.generate("by its entry").text == "by its entry"
