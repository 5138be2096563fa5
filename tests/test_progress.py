"""What a long run shows."""

import io

from bench.progress import Bar, Lines, for_stream


def test_a_log_gets_plain_lines_with_rate_and_time_left():
    stream = io.StringIO()
    progress = Lines(stream, every=0.0)
    progress.begin(200)
    progress.advance(50, "digits-vit")
    progress.advance(150, "digits-vit")
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("50/200 images (25%), ")
    assert "s left, digits-vit" in lines[0]
    assert lines[-1].startswith("200/200 images (100%)")


def test_lines_are_not_printed_for_every_batch():
    stream = io.StringIO()
    progress = Lines(stream, every=1000.0)
    progress.begin(100)
    for _ in range(99):
        progress.advance(1, "x")
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar_and_text_with_brackets_is_only_text():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    progress = for_stream(stream)
    assert isinstance(progress, Bar)
    progress.begin(10)
    progress.advance(5, "[bold]name[/bold]")
    progress.note("failed: [red]x[/red]")
    progress.end()
    assert "failed: [red]x[/red]" in stream.getvalue()
