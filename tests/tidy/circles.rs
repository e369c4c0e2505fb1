//! Modules can be read in an order: no import circle is larger than three files.

use crate::modules::Graph;

/// How many files a circle can have.
const LARGEST: usize = 3;

/// The circles that are larger, by package and the module above all their files. They are to be opened, and must not grow.
const TO_OPEN: &[(&str, &str, usize)] = &[
    ("heddled", "repo", 29),
    ("heddled", "coordinator", 21),
    ("heddled", "store", 18),
    ("heddled", "server::advice", 5),
    ("heddlectl", "", 14),
];

#[test]
fn no_import_circle_is_larger_than_three_files() {
    let mut wrong = Vec::new();
    for package in ["proto-schema", "heddled", "heddlectl"] {
        let graph = Graph::read(package);
        for circle in graph.circles() {
            let files: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
            let is_below =
                |folder: &str| files.iter().all(|file| file == folder || file.starts_with(&format!("{folder}::")));
            let known =
                TO_OPEN.iter().find(|(of, folder, _)| *of == package && (folder.is_empty() || is_below(folder)));
            let allowed = known.map_or(LARGEST, |(.., size)| *size);
            if files.len() > allowed {
                wrong.push(format!(
                    "{package}: {} files import each other in a circle: {}",
                    files.len(),
                    files.join(", ")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
