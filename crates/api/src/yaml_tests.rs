use super::*;

fn refused(text: &str) -> String {
    let findings = document(text, "CompressedModel").expect_err("refused");
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_field_knows_its_line_and_column() {
    let text = "# a comment\nkind: CompressedModel\nspec:\n  gates:\n    - metric: accuracy\n    - { metric: size, \"a.b\": 1 }\n";
    let document = document(text, "CompressedModel").unwrap();
    let at = |path| (document.position(path).line, document.position(path).column);
    assert_eq!(at("kind"), (2, 1));
    assert_eq!(at("spec.gates"), (4, 3));
    assert_eq!(at("spec.gates[0]"), (5, 7));
    assert_eq!(at("spec.gates[1].metric"), (6, 9));
    assert_eq!(at("spec.gates[1][\"a.b\"]"), (6, 23));
    assert_eq!(at("spec.gates[1].absent.deeper"), (6, 7), "the nearest thing above stands in");
}

#[test]
fn one_document_of_the_kind_is_taken_from_several() {
    let text = "kind: Secret\n---\nkind: CompressedModel\nspec: 1\n---\n# nothing here\n";
    let document = document(text, "CompressedModel").unwrap();
    assert_eq!(document.value["spec"], 1);
    assert_eq!(document.position("spec").line, 4);
}

#[test]
fn none_or_two_documents_of_the_kind_are_refused() {
    assert!(refused("").contains("1:1: nothing in the file; expected one document of kind CompressedModel"));
    assert!(refused("kind: Secret\n---\nkind: Service\n").contains("documents of kind `Secret`, `Service`"));
    assert!(refused("kind: CompressedModel\n---\nkind: CompressedModel\n").contains("3:1: kind: 2 documents of kind"));
}

#[test]
fn a_duplicate_key_is_refused() {
    assert!(refused("kind: CompressedModel\nkind: CompressedModel\n").contains("duplicate"));
}

#[test]
fn a_broken_line_is_named() {
    let message = refused("kind: CompressedModel\nspec: {a: [1, 2}\n");
    assert!(message.starts_with("2:"), "{message}");
}

#[test]
fn words_that_kubectl_reads_as_booleans_are_refused() {
    let message = refused("kind: CompressedModel\nlabels: y\n\"n\": [on, 'off']\n");
    assert!(message.contains("2:9: labels: `y` without quotes, which kubectl reads as true or false"), "{message}");
    assert!(message.contains("3:7: n[0]: `on`"), "{message}");
    assert!(!message.contains("off"), "{message}");
}

#[test]
fn what_json_cannot_say_is_refused() {
    assert!(refused("kind: CompressedModel\na: .nan\n").contains("2:1: a: `.nan`; expected a finite number"));
    assert!(refused("kind: CompressedModel\na: !secret b\n").contains("the YAML tag `!secret`"));
    assert!(refused("kind: CompressedModel\n? [a, b]\n: c\n").contains("neither a word nor a number"));
}

#[test]
fn whole_floats_are_integers_as_kubectl_reads_them() {
    let document = document("kind: CompressedModel\na: 3.0\nb: 0.5\n1: x\n", "CompressedModel").unwrap();
    assert_eq!((&document.value["a"], &document.value["b"]), (&Value::from(3), &Value::from(0.5)));
    assert_eq!(document.value["1"], "x");
}

#[test]
fn anchors_work_and_bombs_do_not() {
    let document = document("kind: CompressedModel\na: &a [1, 2]\nb: *a\n", "CompressedModel").unwrap();
    assert_eq!(document.value["b"], document.value["a"]);
    assert_eq!(document.position("b[1]").line, 3);

    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        let aliases = [alias.as_str(); 8].join(", ");
        bomb.extend([format!("a{level}: &a{level} [{aliases}]\n")]);
    }
    assert!(refused(&bomb).contains("more than 100000 values"));
    assert!(refused("a: &a [*a]\n").contains("inside its own anchor"));
}

#[test]
fn too_large_and_too_deep_are_refused() {
    assert!(refused(&"a".repeat(LARGEST + 1)).contains("at most 1048576 bytes"));
    assert!(refused(&("[".repeat(65) + &"]".repeat(65))).contains("nesting deeper than 64"));
    assert!(refused(&"[".repeat(LARGEST)).contains("expected well-formed YAML"));
    let long_key = "k".repeat(1000);
    let leaves = (0..30_000).map(|leaf| format!("{leaf}: 0")).collect::<Vec<_>>().join(", ");
    assert!(refused(&format!("{long_key}: {{ {leaves} }}")).contains("or very long keys"));
}
