"""Lines of runs: taken from streams and logging, made fit, handed over, gathered, masked."""

import asyncio
import io
import logging
import socket
import threading

import msgspec
import pytest

from outlast.protocol.frames import Frame, Kind, body, frame, unpack
from outlast.protocol.messages import Claim, Facts, LogLevel, LogLine, MetadataOperation, Report
from outlast.worker.capture import Stream, capture_logs
from outlast.worker.lines import MAX_LINE, Gathering, clean, cut
from outlast.worker.pipe import Pipe
from outlast.worker.reports import MAX_LINES, MAX_TEXT, Reports
from outlast.worker.scopes import Scope
from outlast.worker.sending import Sending
from polling import until

KEY = "tr_dev_0123456789abcdef0123456789abcdef"
FACTS = Facts(
    run_id="run_1",
    task="t",
    attempt=1,
    max_attempts=1,
    queue="q",
    created_at=0,
    started_at=0,
    environment="env",
    environment_slug="dev",
    project="p",
    version="v",
    tags=("a", "b"),
)


class Speaker:
    """A run that only listens. `repeats` are lines that a replay says again."""

    def __init__(self, *repeats: str) -> None:
        self.lines: list[tuple[str, str, bool]] = []
        self.repeats = repeats

    def said(self, level: LogLevel, message: str, *, placed: bool = True) -> bool:
        self.lines.append((level, message, placed))
        return message not in self.repeats


def texts(run: Speaker) -> list[str]:
    return [message for _, message, _ in run.lines]


def stream(run: Speaker | None) -> tuple[Stream, io.StringIO]:
    console = io.StringIO()
    return Stream(console, "LOG", lambda: run, echo=True), console


def test_a_line_counts_when_it_is_complete() -> None:
    run = Speaker()
    out, console = stream(run)

    print("a", "b", file=out)
    print("half", end=" ", flush=True, file=out)
    assert texts(run) == ["a b"]
    print("whole", file=out)
    print("two\nrows", file=out)
    print(file=out)
    print("rest", end="", file=out)
    out.finish(run)

    assert texts(run) == ["a b", "half whole", "two\nrows", "", "rest"]
    assert console.getvalue() == "a b\nhalf whole\ntwo\nrows\n\nrest\n"


def test_threads_do_not_mix_their_lines() -> None:
    run = Speaker()
    out, _ = stream(run)

    out.write("mine ")
    thread = threading.Thread(target=print, args=("theirs",), kwargs={"file": out})
    thread.start()
    thread.join()
    out.write("goes on\n")

    assert texts(run) == ["theirs", "mine goes on"]


def test_outside_a_run_a_stream_is_as_before() -> None:
    out, console = stream(None)

    out.writelines(["a", "b\n"])

    assert console.getvalue() == "ab\n"
    assert not out.isatty()
    assert out.writable()


def test_what_a_replay_repeats_is_not_shown_again() -> None:
    run = Speaker("old")
    out, console = stream(run)

    print("old", file=out)
    print("new", file=out)

    assert console.getvalue() == "new\n"


def test_a_record_is_one_line_whatever_handlers_print(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.Logger, "callHandlers", logging.Logger.callHandlers)
    run = Speaker("repeated")
    out, console = stream(run)
    capture_logs(lambda: run)
    capture_logs(lambda: None)  # a second time changes nothing
    log = logging.getLogger("test_capture")
    log.propagate = False
    log.setLevel(logging.DEBUG)
    handler = logging.StreamHandler(out)
    log.addHandler(handler)
    try:
        log.debug("fine %d", 1)
        log.warning("repeated")
        log.critical("bad")
        try:
            int("why")
        except ValueError:
            log.exception("failed")
        log.error("%d", "no number", stacklevel=1)
    finally:
        log.removeHandler(handler)

    levels = [level for level, _, _ in run.lines]
    assert levels == ["DEBUG", "WARN", "ERROR", "ERROR", "ERROR"]
    assert "ValueError: invalid literal" in texts(run)[3]
    assert console.getvalue().startswith("fine 1\nbad\nfailed\n")


def test_lines_of_outlast_itself_stand_nowhere_in_the_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.Logger, "callHandlers", logging.Logger.callHandlers)
    run = Speaker()
    capture_logs(lambda: run)

    logging.getLogger("outlast.worker").warning("ours")

    assert run.lines == [("WARN", "ours", False)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü ✓", "plain ü ✓"),
        ("\x1b[31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07", "red link"),
        ("10%\r20%\r100%", "100%"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("nul\0bell\x07tab\t", "nul\\x00belltab\t"),
        ("half \ud800 pair", "half ? pair"),
        ("x" * (MAX_LINE + 1_234), "x" * MAX_LINE + "… (1,234 more characters)"),
    ],
)
def test_a_line_is_made_fit_to_show(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_a_scope_too_long_to_index_is_cut_and_stays_itself() -> None:
    long = "~task#0/" * 100

    assert cut("~task#0") == "~task#0"
    assert len(cut(long)) < 400
    assert cut(long) == cut(long) != cut(long + "x")


# Reports


class Desk:
    """The reports of a run, and what became of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, **claim: object) -> None:
        self.frames: list[Frame] = []
        self.handed: list[LogLine] = []
        self.may_say = True
        made = Claim(resume="cold", facts=FACTS, executor="shared", **claim)  # type: ignore[arg-type]
        self.sending = Sending("run_1", 1, self.frames.append)
        self.reports = Reports(
            made,
            self.sending,
            loop=loop,
            hand_over=self._hand_over,
            may_say=lambda: self.may_say,
        )
        self.scope = Scope()

    def _hand_over(self, each: Frame) -> None:
        assert (each.kind, each.run, each.token) == (Kind.LINE, "run_1", 1)
        self.handed.append(msgspec.msgpack.decode(each.body, type=LogLine))

    def say(self, message: str, scope: Scope | None = None) -> bool:
        path, ordinal = self.reports.place(scope or self.scope, line=True)
        return self.reports.line(LogLine(0.0, "LOG", message, path, ordinal))

    def sent(self) -> list[Report]:
        self.reports.flush()
        self.sending.flush()
        return [msgspec.msgpack.decode(each.body, type=Report) for each in self.frames]

    def texts(self) -> list[str]:
        return [line.message for line in self.handed]


async def test_a_replay_hands_over_only_what_is_not_recorded() -> None:
    desk = Desk(asyncio.get_running_loop(), lines={"": 2})

    fresh = [desk.say(text) for text in "abc"]
    fresh.append(desk.say("other", Scope("~t#0")))

    assert fresh == [False, False, True, True]
    assert desk.texts() == ["c", "other"]
    assert [line.ordinal for line in desk.handed] == [3, 1]


async def test_lines_wait_while_the_run_has_no_token_to_say_them_under() -> None:
    desk = Desk(asyncio.get_running_loop())
    desk.may_say = False
    desk.say("held")
    desk.may_say = True
    desk.say("behind it")
    assert desk.texts() == []

    desk.reports.release()

    assert desk.texts() == ["held", "behind it"]


async def test_what_a_thread_says_has_a_place_of_its_own() -> None:
    loop = asyncio.get_running_loop()
    one, other = Desk(loop), Desk(loop)

    first, second = one.reports.place(None, line=True), one.reports.place(None, line=True)

    assert first[0].startswith("!")
    assert (first[1], second[1]) == (1, 2)
    assert other.reports.place(None, line=True)[0] != first[0]


async def test_the_line_after_the_last_says_that_there_are_more() -> None:
    desk = Desk(asyncio.get_running_loop())

    for n in range(MAX_LINES + 10):
        desk.say(str(n))

    assert len(desk.handed) == MAX_LINES + 1
    assert desk.handed[-1].level == "WARN"
    assert "further lines are dropped" in desk.texts()[-1]


async def test_too_much_text_ends_with_the_same_mark() -> None:
    desk = Desk(asyncio.get_running_loop())

    for _ in range(MAX_TEXT // MAX_LINE + 10):
        desk.say("x" * MAX_LINE)

    assert len(desk.handed) == MAX_TEXT // MAX_LINE + 1
    assert "further lines are dropped" in desk.texts()[-1]


async def test_the_eleventh_tag_is_left_out_and_said() -> None:
    desk = Desk(asyncio.get_running_loop())

    desk.reports.tag(tuple(f"t{n}" for n in range(9)))
    desk.reports.tag(("a", "t0"))

    [report] = desk.sent()
    assert report.tags == tuple(f"t{n}" for n in range(8))
    assert desk.texts() == ["a run has at most 10 tags; left out: t8"]


async def test_metadata_over_its_size_is_left_out_and_said() -> None:
    desk = Desk(asyncio.get_running_loop())
    for n, value in enumerate(('"' + "x" * 200_000 + '"', '"' + "y" * 100_000 + '"', "1"), 1):
        desk.reports.operate(MetadataOperation("", n, "set", (f"k{n}",), value))

    assert set(desk.reports.metadata()) == {"k1", "k3"}
    assert [each.path for each in desk.sent()[0].metadata] == [("k1",), ("k3",)]
    assert desk.texts() == ["a change of the metadata was left out: over 256 KB"]


# On the way


def test_a_frame_is_with_the_system_before_the_call_returns() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        line = LogLine(0.0, "LOG", "last words", "", 1)

        Pipe(ours).hand_over(frame(Kind.LINE, line, run="run_1", token=1))

        theirs.setblocking(False)
        message = theirs.recv(1 << 16)
        assert unpack(message[4:])[0].body == body(line)


def test_a_supervisor_that_does_not_read_holds_nobody_up_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("outlast.worker.pipe._PATIENCE", 0.01)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pipe = Pipe(ours)
        said = [LogLine(0.0, "LOG", "x" * 8_000, "", n) for n in range(200)]
        for line in said:
            pipe.hand_over(frame(Kind.LINE, line, run="run_1", token=1))

        received = bytearray()
        theirs.settimeout(5)
        reader = threading.Thread(target=lambda: received.extend(_read(theirs, len(said))))
        reader.start()
        pipe.send_now()
        reader.join()

    assert _count(received) == len(said)


def _read(sock: socket.socket, frames: int) -> bytes:
    data = bytearray()
    while _count(data) < frames:
        data += sock.recv(1 << 18)
    return bytes(data)


def _count(data: bytes | bytearray) -> int:
    count = at = 0
    while len(data) >= at + 4:
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        if len(data) < end:
            break
        count += len(unpack(bytes(data[at + 4 : end])))
        at = end
    return count


async def test_lines_of_a_run_travel_together_before_what_it_says_next() -> None:
    sent: list[Frame] = []
    gathering = Gathering(sent.extend)
    for n in range(3):
        gathering.add("run_1", 1, body(LogLine(0.0, "LOG", str(n), "", n + 1)))
    gathering.add("run_2", 1, body(LogLine(0.0, "LOG", "other", "", 1)))

    [made] = gathering.take("run_1", 1)

    assert (made.kind, made.run, made.token, made.number) == (Kind.REPORT, "run_1", 1, -1)
    report = msgspec.msgpack.decode(made.body, type=Report)
    assert [line.message for line in report.logs] == ["0", "1", "2"]
    assert gathering.take("run_1", 1) == []
    await until(lambda: sent)
    assert [(each.run, each.number) for each in sent] == [("run_2", -2)]


async def test_a_secret_is_masked_whole_where_another_is_a_part_of_it_and_where_it_is_escaped() -> (
    None
):
    gathering = Gathering(lambda _: None)
    gathering.hide(("hazelnut", 'hazelnut "pie"', "almond\ncake"))
    said = 'hazelnut "pie", hazelnut'
    attributes = msgspec.json.encode({"a": said, "b": "almond\ncake"}).decode()
    gathering.add("run_1", 1, body(LogLine(0.0, "LOG", said, "", 1, attributes=attributes)))

    [made] = gathering.take("run_1", 1)

    [stored] = msgspec.msgpack.decode(made.body, type=Report).logs
    assert (stored.message, stored.attributes) == ("***, ***", '{"a":"***, ***","b":"***"}')


async def test_secrets_of_the_worker_are_masked() -> None:
    gathering = Gathering(lambda _: None, (KEY,))
    line = LogLine(0.0, "LOG", f"key={KEY}!", "", 1, attributes=f'{{"key":"{KEY}"}}')
    gathering.add("run_1", 1, body(line))

    [made] = gathering.take("run_1", 1)

    [stored] = msgspec.msgpack.decode(made.body, type=Report).logs
    assert (stored.message, stored.attributes) == ("key=***!", '{"key":"***"}')
