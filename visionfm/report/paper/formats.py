"""Tables as Markdown and LaTeX (booktabs), and our Markdown as LaTeX; pure functions of text.

Invariant: what users have named is escaped in each of them; equal input gives equal text.
"""

import re
from collections.abc import Iterator

from visionfm.figures.tables import Cell, Table
from visionfm.metrics.written import MINUS, NO_VALUE

MARKDOWN = re.compile(r"([\\`*$<>|\[\]@#~^])")
ESCAPED = re.compile(r"\\([\\`*$<>|\[\]@#~^])")
CITED = re.compile(r"\[(@[\w-]+(?:; @[\w-]+)*)\]")
INLINE = re.compile(rf"{ESCAPED.pattern}|{CITED.pattern}|`([^`]*)`|\*\*(.+?)\*\*")
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", MINUS: "$-$", NO_VALUE: "--", "\u00a0": "~", "\u00b2": r"\textsuperscript{2}",
    "\u00b5": r"\textmu{}", "\u03bc": r"\textmu{}", "\u00d7": r"$\times$", "\u2265": r"$\geq$", "\u2264": r"$\leq$",
}  # fmt: skip
PREAMBLE = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage{textcomp}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage[margin=25mm]{geometry}
\extrafloats{500} % tables follow each other without text between them
\begin{document}
"""
END = r"""
\bibliographystyle{plain}
\bibliography{references}
\end{document}
"""


def escaped(text: object) -> str:
    """Return text that Markdown shows as it is, in one line."""
    return MARKDOWN.sub(r"\\\1", re.sub(r"\s+", " ", str(text)))


def latex(text: object) -> str:
    """Return text that LaTeX shows as it is."""
    return "".join(LATEX.get(character, character) for character in str(text))


# --- tables ---------------------------------------------------------------------------------------------------------


def whole(cell: Cell) -> str:
    """Return all that a cell says, in one line."""
    small = "; ".join(part for part in cell.small.split("\n") if part)
    said = f"{cell.text} ({small})" if small else cell.text
    return " ".join(f"{said} {cell.mark}".replace("\u00a0", " ").split())


def markdown_table(table: Table) -> str:
    """Return a table with its caption above and its notes below."""
    numeric = _numeric(table)
    lines = [f"**{escaped(table.caption)}**", ""]
    lines.append("| " + " | ".join(escaped(column) or " " for column in table.columns) + " |")
    lines.append("|" + "|".join("---:" if right else "---" for right in numeric) + "|")
    lines += ["| " + " | ".join(escaped(whole(cell)) for cell in row) + " |" for row in table.rows]
    lines += ["", *(f"{escaped(note)}  " for note in table.notes)]
    return "\n".join(lines).rstrip() + "\n"


def latex_table(table: Table, name: str) -> str:
    """Return a table as a LaTeX float for the package booktabs; its label is `tab:NAME`."""
    numeric = "".join("r" if right else "l" for right in _numeric(table))
    head = " & ".join(latex(column) for column in table.columns)
    lines = [
        r"\begin{table}", r"\centering", rf"\caption{{{latex(table.caption)}}}", rf"\label{{tab:{name}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%", rf"\begin{{tabular}}{{{numeric}}}",
        r"\toprule", rf"{head} \\", r"\midrule",
    ]  # fmt: skip
    lines += [" & ".join(latex(whole(cell)) for cell in row) + r" \\" for row in table.rows]
    lines += [r"\bottomrule", r"\end{tabular}}"]
    lines += [rf"\par\smallskip\footnotesize {latex(' '.join(table.notes))}"] if table.notes else []
    return "\n".join([*lines, r"\end{table}", ""])


def _numeric(table: Table) -> list[bool]:
    return [any(row[at].numeric for row in table.rows) for at in range(len(table.columns))]


# --- text -----------------------------------------------------------------------------------------------------------


def latex_document(markdown: str, tables: list[str]) -> str:
    """Return our Markdown (headings, paragraphs, lists, code, citations) as LaTeX, with `tables` at its end."""
    body = "\n".join(_lines(markdown))
    inputs = "".join(f"\\input{{tables/{name}}}\n" for name in tables)
    return f"{PREAMBLE}{body}\n\n\\clearpage\n{inputs}{END}"


def _lines(markdown: str) -> Iterator[str]:
    listed = False
    for line in markdown.splitlines():
        item = line.startswith("- ")
        if item and not listed:
            yield r"\begin{itemize}"
        if listed and not item and line and not line.startswith("  "):
            yield r"\end{itemize}"
            listed = False
        listed = listed or item
        if heading := re.match(r"(#+) (.*)", line):
            level = ("section*", "section", "subsection", "subsubsection")[min(len(heading[1]), 4) - 1]
            yield rf"\{level}{{{_inline(heading[2])}}}"
        else:
            yield rf"\item {_inline(line[2:])}" if item else _inline(line)
    if listed:
        yield r"\end{itemize}"


def _inline(text: str) -> str:
    found, at = [], 0
    for match in INLINE.finditer(text):
        found.append(latex(text[at : match.start()]))
        plain, cited, code, bold = match.groups()
        if plain is not None:
            found.append(latex(plain))
        elif cited is not None:
            found.append(rf"\cite{{{cited.replace('@', '').replace('; ', ',')}}}")
        else:
            found.append(rf"\texttt{{{latex(code)}}}" if code is not None else rf"\textbf{{{_inline(bold)}}}")
        at = match.end()
    return "".join([*found, latex(text[at:])])
