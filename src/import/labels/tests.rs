//! Label files in the forms that people have: read as they are meant, or refused by name.

use super::*;

fn read(name: &str, content: &str) -> Result<Vec<String>, LabelsError> {
    from_bytes(content.as_bytes(), Path::new(name))
}

#[test]
fn what_is_meant_is_read() {
    for (name, content, expected) in [
        // Lines, numbered or not.
        ("l.txt", "benign\nmalignant\n", "benign|malignant"),
        ("l.txt", "0 benign\n1 malignant\n", "benign|malignant"),
        ("l.txt", "0: a\n1: b c\n\n", "a|b c"),
        ("l.txt", "nv\r\nmel\r\n", "nv|mel"),
        ("l.txt", "nv\rmel\r", "nv|mel"),
        ("l.txt", "1,b\n0,a\n", "a|b"),
        ("l.txt", "0. benign\n1. malignant\n", "benign|malignant"),
        ("l.txt", "1) b\n0) a\n", "a|b"),
        ("l.txt", "00\tx\n01\ty\n", "x|y"),
        ("l.txt", "benign 0\nmalignant 1\n", "benign|malignant"),
        ("l.csv", "name,index\nb,1\na,0\n", "a|b"),
        ("l.csv", "index,label\n0,nv\n1,mel\n", "nv|mel"),
        ("l.csv", "\"nv\"\n\"mel\"\n", "nv|mel"),
        ("l.txt", "nv,\nmel,\nbkl\n", "nv|mel|bkl"),
        ("l.txt", "'nv',\n'mel',\n", "nv|mel"),
        (
            "l.txt",
            "  melanocytic nevi \n\n bcc\n",
            "melanocytic nevi|bcc",
        ),
        ("l.txt", "0 Class 1\n1 Class 2\n", "Class 1|Class 2"),
        (
            "l.txt",
            "tench, Tinca tinca\ngoldfish\n",
            "tench, Tinca tinca|goldfish",
        ),
        // Numbers that belong to the names.
        ("l.txt", "1 euro\n2 euro\n", "1 euro|2 euro"),
        ("l.txt", "grade 0\ngrade 1\n", "grade 0|grade 1"),
        ("l.txt", "0a\n1b", "0a|1b"),
        ("l.txt", "0.5 mm\n1.5 mm\n", "0.5 mm|1.5 mm"),
        ("l.txt", "5 mm nevus\n10 mm mole\n", "5 mm nevus|10 mm mole"),
        ("l.txt", "0-benign\n1-malignant\n", "0-benign|1-malignant"),
        ("l.txt", "Class 1\n", "Class 1"),
        // One line.
        ("l.txt", "a,b,c", "a|b|c"),
        ("l.txt", "a; b; c;", "a|b|c"),
        ("l.txt", "\"a\", \"b\"\n", "a|b"),
        ("l.txt", "only one\n", "only one"),
        ("l.txt", "0 malignant\n", "malignant"),
        // JSON.
        ("l.json", r#"["a", "b"]"#, "a|b"),
        ("l.json", "\u{feff}[\"a\", \"b\"]", "a|b"),
        ("l.json", "[0, 1, 2]", "0|1|2"),
        ("l.txt", r#"{"a": 0, "b": 1}"#, "a|b"),
        ("l.json", r#"{"b": "1", "a": "0"}"#, "a|b"),
        ("l.json", r#"{"1": "b", "0": "a"}"#, "a|b"),
        ("l.json", r#"{"0": 0, "1": 1}"#, "0|1"),
        (
            "metadata.json",
            r#"{"imageSize": 224, "labels": ["a", "b"]}"#,
            "a|b",
        ),
        (
            "config.json",
            r#"{"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}"#,
            "a|b",
        ),
        // YAML and Python.
        ("l.yaml", "- a\n- b\n", "a|b"),
        ("l.txt", "---\n- a\n- b\n", "a|b"),
        ("l.yml", "0: a\n1: b\n", "a|b"),
        ("l.yml", "a: 1\nb: 0\n", "b|a"),
        ("data.yaml", "names: [a, b]\nnc: 2\n", "a|b"),
        ("l.yaml", "a\nb\n", "a|b"),
        ("l.txt", "['a', 'b']\n", "a|b"),
        ("l.txt", "{'a': 1, 'b': 0}\n", "b|a"),
    ] {
        let got = read(name, content).unwrap_or_else(|e| panic!("{content:?}: {e}"));
        assert_eq!(got.join("|"), expected, "{content:?}");
    }
}

#[test]
fn what_could_mean_two_things_or_nothing_is_refused() {
    for (name, content, says) in [
        ("l.txt", "1 a\n2 b\n", "numbered from 1 to 2"),
        ("l.txt", "a 1\nb 2\nc 3\n", "numbered from 1 to 3"),
        ("l.txt", "0 a\n0 b\n1 c\n", "0, 0, 1, expected 0 to 2"),
        ("l.txt", "0 a\n2 b\n3 c\n", "0, 2, 3"),
        ("l.csv", "a,5\nb,7\n", "5, 7"),
        (
            "l.txt",
            "akiec\n1 bcc\n2 bkl\n",
            "only some lines are numbered",
        ),
        ("l.csv", "nv,Nevi\nmel,Melanoma\n", "2 columns"),
        ("l.csv", "0,nv,Nevi\n1,mel,Melanoma\n", "2 columns"),
        ("l.tsv", "nv\tNevi\nmel\tMelanoma\n", "columns"),
        ("l.txt", "\"a, x\", b\n", "do not end"),
        ("l.json", r#"{"a": 1, "b": 2}"#, "numbered from 1 to 2"),
        ("l.json", r#"{"0": 1, "1": 0}"#, "both sides"),
        ("l.json", r#"{"a": "x", "b": "y"}"#, "not between names"),
        ("l.json", r#"{"0": ["n01", "tench"]}"#, "a list of 2"),
        ("l.json", r#"["a", ["b"]]"#, "label 1 is a list of 1"),
        ("l.json", r#"["a", null]"#, "label 1 is nothing"),
        ("l.json", r"[0.5, 1.5]", "label 0 is `0.5`"),
        ("l.json", "[]", "the list is empty"),
        ("l.json", "{}", "empty"),
        ("l.json", "\"a\"", "expected a list"),
        ("l.json", "a\nb\n", "not valid JSON"),
        (
            "l.json",
            r#"{"labels": ["a", "b"], "classes": ["b", "a"]}"#,
            "something else",
        ),
        ("l.txt", "[a\nb\n", "not valid JSON or YAML"),
        ("l.yaml", "- true\n- false\n", "label 0 is `true`"),
        ("l.yaml", "- &a x\n- *a\n", "not valid"),
        ("l.pbtxt", "item {\n  id: 1\n  name: 'a'\n}\n", "label map"),
        ("l.txt", "<!DOCTYPE html>\n<html>\n", "web page"),
        ("l.txt", "(lp0\nS'a'\np1\na.", "pickle"),
        ("l.txt", "\n \n", "empty"),
        ("l.txt", "a\nb\na\n", "given twice, for outputs 0 and 2"),
        ("l.txt", "a\u{1b}[2J\nb\n", "cannot be printed"),
        ("l.txt", "a,,b", "label 1 is empty"),
    ] {
        let error = read(name, content).expect_err(content);
        let message = error.to_string();
        assert!(message.contains(says), "{content:?}: {message}");
        assert!(!error.hint().is_empty());
    }
}

#[test]
fn bytes_that_are_no_text_are_named() {
    for (bytes, says) in [
        (&b"\x93NUMPY\x01\x00"[..], "NumPy"),
        (b"\x80\x04\x95\x00", "pickle"),
        (b"PK\x03\x04....", "zip"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\x89PNG\r\n", "picture"),
        (b"\xFF\xD8\xFF\xE0", "picture"),
        (b"%PDF-1.4", "PDF"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"a\0k\0i\0", "UTF-16 without"),
        (b"\xFF\xFEa", "damaged UTF-16"),
        (b"\xFF\xFE\x00\x00a\0\0\0", "UTF-32"),
        (b"benign and\xE9\nmelanoma\0 of the skin", "binary"),
        (b"a\nb\nn\xE9vus\n", "line 3 is not UTF-8"),
        (b"", "empty"),
    ] {
        let error = from_bytes(bytes, Path::new("l.txt")).unwrap_err();
        assert!(error.to_string().contains(says), "{bytes:?}: {error}");
    }
    let big = vec![b'a'; 2 << 20];
    let error = from_bytes(&big, Path::new("l.txt")).unwrap_err();
    assert!(error.to_string().contains("too much"), "{error}");
    let utf16 = |little: bool| -> Vec<u8> {
        let bytes = if little {
            u16::to_le_bytes
        } else {
            u16::to_be_bytes
        };
        "\u{feff}a\nn\u{e6}vus\n"
            .encode_utf16()
            .flat_map(bytes)
            .collect()
    };
    for little in [true, false] {
        let labels = from_bytes(&utf16(little), Path::new("l.txt")).unwrap();
        assert_eq!(labels, ["a", "n\u{e6}vus"]);
    }
}

#[test]
fn the_command_line_gives_names_or_a_file() {
    let given = |text: &str| from_option(OsStr::new(text));
    assert_eq!(given("a, b,c").unwrap(), ["a", "b", "c"]);
    assert_eq!(given("St. Mary,b").unwrap(), ["St. Mary", "b"]);
    assert_eq!(given("only").unwrap(), ["only"]);
    assert_eq!(given(r#"["a", "b"]"#).unwrap(), ["a", "b"]);
    for missing in ["no.txt", "no/labels", "a,b.json", "v1.0", "C:\\l", "x.NPY"] {
        let error = given(missing).unwrap_err();
        assert_eq!(error.kind(), "no_labels_file", "{missing}");
    }
    assert_eq!(given("src").unwrap_err().kind(), "labels_are_a_folder");
}

#[test]
fn counts_are_checked_and_shorten() {
    let labels = ["a".to_owned(), "b".to_owned()];
    check_count(&labels, 2, "").unwrap();
    let error = check_count(&labels, 3, " (why)").unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("3 classes (why), but 2 labels were given: a, b"),
        "{message}"
    );
}
