//! The report as one page that needs nothing else. It is made of the Markdown that the report writes: headings, lists,
//! paragraphs and tables; a number in a table has a bar of its share of the column's largest behind it.

use std::fmt::Write;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:40px auto;padding:0 20px;\
color:#1c2024;background:#fbfbfa;font-variant-numeric:tabular-nums}table{border-collapse:collapse;width:100%;\
margin:14px 0;font-size:13.5px}th,td{border-bottom:1px solid #e6e8ea;padding:4px 8px;text-align:left}\
td.n{text-align:right;background:linear-gradient(90deg,#1f6feb22 var(--w),#0000 var(--w))}\
@media(prefers-color-scheme:dark){body{color:#e6e9ec;background:#111417}th,td{border-color:#2b3137}}";

/// The page.
pub fn page(markdown: &str) -> String {
    let mut body = String::new();
    let lines: Vec<&str> = markdown.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let end = lines[at..].iter().position(|line| !line.starts_with('|')).map_or(lines.len(), |n| at + n);
        if end > at + 1 {
            table(&mut body, &lines[at..end]);
            at = end;
            continue;
        }
        // Writing to a string never fails.
        let _ = match line {
            "" => Ok(()),
            _ if line.starts_with("## ") => writeln!(body, "<h2>{}</h2>", escape(&line[3..])),
            _ if line.starts_with("# ") => writeln!(body, "<h1>{}</h1>", escape(&line[2..])),
            _ => writeln!(body, "<p>{}</p>", escape(line.trim_start_matches("- "))),
        };
        at += 1;
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Cost per request</title>\
         <style>{STYLE}</style><body>\n{body}</body></html>\n"
    )
}

fn table(out: &mut String, lines: &[&str]) {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let rows: Vec<Vec<String>> = lines.iter().skip(2).map(|line| cells(line)).collect();
    let number =
        |cell: &str| cell.split_ascii_whitespace().next().and_then(|first| first.parse::<f64>().ok());
    let most = |column: usize| rows.iter().filter_map(|row| number(row.get(column)?)).fold(0.0, f64::max);
    out.push_str("<table><tr>");
    for head in cells(lines[0]) {
        let _ = write!(out, "<th>{}</th>", escape(&head));
    }
    out.push_str("</tr>\n");
    for row in &rows {
        out.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let _ = match number(cell) {
                Some(value) if most(column) > 0.0 => {
                    let share = (value / most(column) * 100.0).clamp(0.0, 100.0);
                    write!(out, "<td class=\"n\" style=\"--w:{share:.0}%\">{}</td>", escape(cell))
                }
                _ => write!(out, "<td>{}</td>", escape(cell)),
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_become_tables_with_bars_and_text_stays_text() {
        let page =
            page("# A <b>\n\n| proxy | us |\n|---|---:|\n| x | 5.0 |\n| y | 10.0 (9-11) |\n\n- note\n");
        assert!(page.contains("<h1>A &lt;b&gt;</h1>") && page.contains("<p>note</p>"));
        assert!(page.contains("--w:50%\">5.0</td>") && page.contains("--w:100%\">10.0 (9-11)</td>"));
        assert!(!page.contains("src=") && !page.contains("href="));
    }
}
