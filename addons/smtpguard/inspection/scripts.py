"""Scripts: programs that are text.

Only some say what they are: ``#!``, the opening lines of a batch file, the elements of
an HTA, a Windows script file or a management console. JavaScript, VBScript and
PowerShell have no such sign. They are told by what a harmful one cannot do without
(``ActiveXObject``, ``WScript.Shell``, ``Invoke-Expression``), where the text begins as
a program does, or by the name that starts them whatever they hold (``GIF89a=1`` is
JavaScript) or, where nothing else is known, by the claimed type. A mail about
scripts is none. One that hides its words and its name is not seen here.

Takes the text that ``text.read_text`` returns, 64 KiB at most.
"""

from __future__ import annotations

import re


_SHEBANG = re.compile(r"#![ \t]*(/\S{1,255})(?:[ \t]+(?:-\S{1,64}[ \t]+)?(\S{1,64}))?")
_INTERPRETERS = {
    "python": "text/x-python",
    "perl": "text/x-perl",
    "ruby": "text/x-ruby",
    "node": "text/javascript",
    "pwsh": "text/x-powershell",
    "php": "text/x-php",
    "osascript": "text/x-applescript",
}

_BATCH = re.compile(
    r"\s*+(?:(?:rem|::)[^\n]{0,512}\n\s*+){0,16}"
    r"(?:@echo\s+off\b|@?setlocal\b\s|@?set\s+\"?[a-z_]\w*=\S"
    r"|@(?:start|call|cmd|powershell|cscript|wscript|mshta|cd|copy|if|for)\b)",
    re.IGNORECASE,
)

# Blanks before something are never given back: 64 KiB of them are passed once each.
# Elements and first lines that make Windows start something.
_OPENINGS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"<hta:application\b", re.IGNORECASE), "application/hta"),
    (
        re.compile(
            r"\s*+(?:<\?xml\b[^>]{0,256}>\s*+)?<(?:package|job)\b[^>]{0,256}>"
            r".{0,4096}<script\b",
            re.IGNORECASE | re.DOTALL,
        ),
        "text/x-windows-script",
    ),
    (
        re.compile(
            r"\s*+(?:<\?xml\b[^>]{0,256}>\s*+)?<(?:scriptlet|component)\b",
            re.IGNORECASE,
        ),
        "text/x-windows-script",
    ),
    (
        re.compile(
            r"\s*+(?:<\?xml\b[^>]{0,256}>\s*+)?<mmc_consolefile\b", re.IGNORECASE
        ),
        "application/x-ms-console",
    ),
    (
        re.compile(r"\s*+(?:<\?xml\b[^>]{0,256}>\s*+)?<pcsettings\b", re.IGNORECASE),
        "application/x-ms-setting-content",
    ),
    (
        re.compile(r"(?:Windows Registry Editor Version 5|REGEDIT4\s*\n)"),
        "text/x-ms-regedit",
    ),
    (re.compile(r"\s*+\[Desktop Entry\]\s*\n"), "application/x-desktop"),
)
_UNTAGGED = re.compile(r"\s*+(?:\[D|W|R)")
"""How those begin that are no elements."""
_SEARCHED = frozenset({"application/hta"})
"""Types whose opening may stand anywhere in the text."""

_CODE_START = re.compile(
    r"\s*+(?:'|//|/\*|rem\b|var\s+\w|let\s+\w|const\s+\w|function\b|try\s*\{|if\s*\("
    r"|for\s*\(|while\s*\(|new\s+ActiveX|\(function|dim\s+\w|set\s+\w+\s*=|sub\s+\w"
    r"|on\s+error\s|option\s+explicit|execute|eval\b|wscript\.|createobject"
    r"|param\s*\(|\$\w+\s*=|<#|#requires|set-|start-|invoke-|iex\b|\[\w|&\s*\(|powershell"
    r"|this\s*\[|\w+\s*=\s*(?:new\s|createobject))",
    re.IGNORECASE,
)
_TELLING: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"new\s+ActiveXObject\b"), "text/javascript"),
    (
        re.compile(
            r"createobject\s*\(\s*\"(?:wscript|scripting|shell|msxml2|microsoft|adodb"
            r"|winhttp)\b",
            re.IGNORECASE,
        ),
        "text/vbscript",
    ),
    (
        re.compile(
            r"\binvoke-(?:expression|webrequest|restmethod)\b|\bdownloadstring\b"
            r"|-encodedcommand\b|\bnew-object\s+(?:system\.)?net\.|frombase64string"
            r"|\bstart-process\b",
            re.IGNORECASE,
        ),
        "text/x-powershell",
    ),
)

# Names and claims that start a text, whatever it is.
_BY_ENDING = {
    "js": "text/javascript",
    "jse": "text/x-encoded-script",
    "mjs": "text/javascript",
    "vbs": "text/vbscript",
    "vbe": "text/x-encoded-script",
    "wsf": "text/x-windows-script",
    "wsh": "text/x-windows-script",
    "wsc": "text/x-windows-script",
    "sct": "text/x-windows-script",
    "hta": "application/hta",
    "ps1": "text/x-powershell",
    "psm1": "text/x-powershell",
    "bat": "application/x-bat",
    "cmd": "application/x-bat",
    "reg": "text/x-ms-regedit",
    "sh": "text/x-shellscript",
    "command": "text/x-shellscript",
}
_BY_CLAIM = {
    "text/javascript": "text/javascript",
    "application/javascript": "text/javascript",
    "application/x-javascript": "text/javascript",
    "text/vbscript": "text/vbscript",
    "application/x-vbs": "text/vbscript",
    "application/hta": "application/hta",
    "application/x-bat": "application/x-bat",
    "application/x-powershell": "text/x-powershell",
    "text/x-powershell": "text/x-powershell",
    "application/x-sh": "text/x-shellscript",
    "text/x-shellscript": "text/x-shellscript",
    "text/x-sh": "text/x-shellscript",
}
_NAME_TRAIL = " .\t\r\n\x00"
"""What Windows drops at the end of a name."""


def type_by_content(text: str) -> str:
    """Return the type of a script; "" if it does not say that it is one."""
    if found := _SHEBANG.match(text):
        program = found[1].rpartition("/")[2]
        if program == "env" and found[2]:
            program = found[2]
        return _INTERPRETERS.get(program.rstrip("0123456789."), "text/x-shellscript")
    has_tags = "<" in text
    for pattern, kind in _OPENINGS if has_tags or _UNTAGGED.match(text) else ():
        search = pattern.search if kind in _SEARCHED else pattern.match
        if search(text):
            return kind
    if _BATCH.match(text):
        return "application/x-bat"
    if _CODE_START.match(text):
        for pattern, kind in _TELLING:
            if pattern.search(text):
                return kind
    return ""


def type_by_name(names: tuple[str, ...]) -> str:
    """Return what a name of some content makes it when it is opened; "" if nothing."""
    for name in names:
        _, dot, ending = name.rstrip(_NAME_TRAIL)[-16:].rpartition(".")
        if dot and ending.lower() in _BY_ENDING:
            return _BY_ENDING[ending.lower()]
    return ""


def type_by_claim(claimed: str) -> str:
    """Return the type of script that is claimed, in one spelling; "" if none is."""
    return _BY_CLAIM.get(claimed, "")
