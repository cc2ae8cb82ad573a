//! Rules about the source text that no compiler lint states.

use std::path::{Path, PathBuf};

use crate::shell::root;

/// `unsafe` stands in `runtime/` only. The lint `forbid(unsafe_code)` says so too; this also sees a crate that
/// forgot to inherit the workspace's lints.
pub fn unsafe_stays_in_runtime() -> bool {
    let mut found = 0;
    for file in sources(&root()) {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let lines = text.lines().enumerate().filter(|(_, line)| says_unsafe(line));
        for (number, line) in lines {
            println!("{}:{}: {}", file.display(), number + 1, line.trim());
            found += 1;
        }
    }
    println!("{found} such lines outside runtime/");
    found == 0
}

/// Whether a line of code, not of comment, has the keyword before something it makes so; a field of the configuration
/// is called the same.
fn says_unsafe(line: &str) -> bool {
    const BEFORE: [&str; 6] = ["{", "(", "fn ", "impl", "extern", "trait"];
    let code = line.split("//").next().unwrap_or_default();
    // Spelled in two pieces, or this line would find itself.
    let keyword = concat!("un", "safe");
    let is_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(keyword).any(|(at, _)| {
        let rest = &code[at + keyword.len()..];
        let stands_alone = !code[..at].ends_with(is_of_word) && !rest.starts_with(is_of_word);
        stands_alone && BEFORE.iter().any(|what| rest.trim_start().starts_with(what))
    })
}

/// Every Rust file of ours outside `runtime/`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files = Vec::new();
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && !name.to_string_lossy().starts_with('.') && name != "target" && name != "runtime"
        {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::says_unsafe;

    #[test]
    fn the_keyword_is_found_in_code_and_not_in_comments_or_longer_words() {
        let keyword = concat!("un", "safe");
        assert!(says_unsafe(&format!("    {keyword} {{ read() }}")));
        assert!(says_unsafe(&format!("{keyword} impl Send for X {{}}")));
        assert!(!says_unsafe(&format!("// {keyword} in words")));
        assert!(!says_unsafe(&format!("#![forbid({keyword}_code)]")));
        assert!(says_unsafe(&format!("#[{keyword}(no_mangle)]")));
        assert!(says_unsafe(&format!("pub {keyword} fn read() {{}}")));
        assert!(!says_unsafe(&format!("let text = \"retries: {{ {keyword}: true }}\";")));
    }
}
