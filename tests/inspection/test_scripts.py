from __future__ import annotations

import pytest

from smtpguard.inspection.scripts import type_by_claim, type_by_content, type_by_name


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("#!/bin/sh\n", "text/x-shellscript"),
        ("#! /usr/bin/perl -w\n", "text/x-perl"),
        ("#!/usr/bin/env python3.12\n", "text/x-python"),
        ("#!/usr/bin/env -S node --x\n", "text/javascript"),
        ("@echo off\r\ndel x", "application/x-bat"),
        ("REM hello\r\n@ECHO OFF\r\n", "application/x-bat"),
        ("@start x.exe", "application/x-bat"),
        ("<html><head><HTA:APPLICATION id=x>", "application/hta"),
        ('<job id="x">\n<script language="VBScript">', "text/x-windows-script"),
        ('<?xml version="1.0"?><package><script>', "text/x-windows-script"),
        ('<?xml version="1.0"?>\n<scriptlet>', "text/x-windows-script"),
        ('<?xml version="1.0"?>\n<MMC_ConsoleFile>', "application/x-ms-console"),
        ("<PCSettings><SearchableContent>", "application/x-ms-setting-content"),
        ("Windows Registry Editor Version 5.00\r\n", "text/x-ms-regedit"),
        ("[Desktop Entry]\nExec=x", "application/x-desktop"),
        ('var s = new ActiveXObject("WScript.Shell");', "text/javascript"),
        ('// x\nnew ActiveXObject("x")', "text/javascript"),
        ('Dim s\nSet s = CreateObject("WScript.Shell")', "text/vbscript"),
        ('On Error Resume Next\nx = CreateObject( "ADODB.Stream")', "text/vbscript"),
        ("$c = New-Object Net.WebClient", "text/x-powershell"),
        ("powershell -w hidden -EncodedCommand aQBl", "text/x-powershell"),
        ("IEX (New-Object x).DownloadString('http://x')", "text/x-powershell"),
    ],
)
def test_a_script_is_told_by_its_text(text: str, kind: str) -> None:
    assert type_by_content(text) == kind


@pytest.mark.parametrize(
    "text",
    [
        "Hello,\nuse new ActiveXObject to start it.",
        'He wrote: Set s = CreateObject("WScript.Shell")',
        "#!important\n",
        "#!\n",
        "Remember to call Invoke-Expression never.",
        "var x = 1;",
        "echo off",
        "@alice: start the job",
        "<job>we have a job for you</job>",
        "> @echo off",
    ],
)
def test_a_mail_about_scripts_is_none(text: str) -> None:
    assert type_by_content(text) == ""


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("x.js",), "text/javascript"),
        (("invoice.pdf", "x.VBS"), "text/vbscript"),
        (("x.hta. . ",), "application/hta"),
        (("x.bat\0",), "application/x-bat"),
        (("x.ps1.txt",), ""),
        (("js",), ""),
        ((), ""),
    ],
    ids=["js", "any-reading", "trailing", "nul", "inner", "no-dot", "none"],
)
def test_a_name_makes_a_script(names: tuple[str, ...], kind: str) -> None:
    assert type_by_name(names) == kind


def test_a_claim_makes_a_script_in_one_spelling() -> None:
    assert type_by_claim("application/x-javascript") == "text/javascript"
    assert type_by_claim("text/plain") == ""
