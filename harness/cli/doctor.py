"""`doctor`: whether this machine can do the work."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.app import App
from harness.cli.options import Database, DataHome, Json, database, examples, specs_of
from harness.cli.output import json_out, out
from harness.errors import DataError


def add_to(app: App) -> None:
    """Add the verb."""
    app.command("doctor", epilog=examples("harness doctor", "harness doctor --calibrate"))(doctor)


def doctor(
    ctx: typer.Context,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Also evaluate the shipped policies, and compare with the returns recorded with them.",
        ),
    ] = False,
    data_home: DataHome = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Check whether this machine can do the work.

    Packages, device, data folder, database and specs, a line each; the exit code is 4 if one says FAIL.
    """
    from harness.execution.doctor import examine

    findings = examine(specs_of(ctx), database(ctx, db), data_home)
    if calibrate:
        from harness.datasets import default_home
        from harness.execution import calibration

        findings += calibration.calibrate(data_home or default_home())
    if as_json:
        json_out(findings)
    else:
        width = max(len(finding.subject) for finding in findings)
        for finding in findings:
            advice = f"; {finding.advice}" if finding.advice else ""
            out(f"{finding.level:<4}  {finding.subject:<{width}}  {finding.text}{advice}")
    if any(finding.level == "FAIL" for finding in findings):
        raise typer.Exit(DataError.exit_code)
