//! What shells complete, and what packages install with the programs.

use std::path::Path;

use crate::support::{Work, programs, run};

#[test]
fn shells_propose_measures_recipe_keys_and_forms() {
    let work = Work::new();
    for (program, words, proposed) in [
        ("l0-eval", "--measure Succ", "Success@1 Success@5"),
        ("l0-eval", "--min RR", "RR@10="),
        ("l0-train", "--set optimizer.w", "optimizer.weight_decay="),
        ("l0-encode", "--dtype b", "bf16"),
        ("l0-encode", "--format par", "parquet"),
        ("l0-encode", "jo", "join"),
    ] {
        let all: Vec<&str> = words.split(' ').collect();
        let line = format!(
            "source <({program} --completions bash); COMP_WORDS=({program} {words}); COMP_CWORD={}; \
             _{} {program} {} {}; echo \"${{COMPREPLY[*]}}\"",
            all.len(),
            program.replace('-', "__"),
            all.last().unwrap(),
            if all.len() > 1 { all[all.len() - 2] } else { program },
        );
        let seen = run(work.shell(&line), b"").exits(0).stdout_text();
        assert_eq!(seen.trim(), proposed, "{program} {words}");
    }
    // the help says in words what there is
    let help = work.run("l0-eval", "--help", "").exits(0);
    assert!(!help.stdout_text().contains("Success@5"), "{help}");
}

/// What packages put next to the programs: manual pages and completions, where systems look for them.
#[test]
fn packages_have_pages_and_completions() {
    let work = Work::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/pages.sh");
    let line = format!("{} {} share", script.display(), programs().display());
    run(work.shell(&line), b"").exits(0).silent();
    for program in ["l0-encode", "l0-eval", "l0-index", "l0-query", "l0-train"] {
        let page = format!("zcat share/man/man1/{program}.1.gz");
        run(work.shell(&page), b"").exits(0).prints(&format!(".TH {program} 1"));
        for (file, has) in [
            (format!("share/bash-completion/completions/{program}"), "complete -F"),
            (format!("share/zsh/site-functions/_{program}"), "#compdef"),
            (format!("share/fish/vendor_completions.d/{program}.fish"), "complete -c"),
        ] {
            assert!(work.text(&file).contains(has), "{file}");
        }
    }
}
