use crate::hint::Hint;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::artifact::{self, FieldMapping, Preprocessing};
use crate::engine::{Engine, Options};
use crate::predict::{Limits, PhotoInput, Predictor};

fn labels(names: &str) -> Vec<String> {
    names.split(' ').map(str::to_owned).collect()
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::File::create(path).unwrap().write_all(bytes).unwrap();
}

/// A folder with these files and a table of this text.
fn table(files: &[&str], text: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        write(&folder.path().join(file), b"");
    }
    let path = folder.path().join("t.csv");
    write(&path, text);
    (folder, path)
}

fn names(dataset: &Dataset) -> Vec<&str> {
    dataset.samples.iter().map(|s| s.name.as_str()).collect()
}

#[test]
fn a_table_is_read_in_its_own_order() {
    let text = "\u{feff}label,file,sex\r\nMEL,\"b,1.jpg\",f\r\n nv ,a.jpg,\r\n,,\r\nnv,sub/c.jpg,\"two\r\nlines\"\r\nmel,./d.jpg,x";
    let (folder, path) = table(&["b,1.jpg", "a.jpg", "sub/c.jpg", "d.jpg"], text.as_bytes());
    let known = labels("nv mel");
    let dataset = Dataset::open(&path, Labels::Required(&known), &[]).unwrap();
    assert_eq!(
        names(&dataset),
        ["b,1.jpg", "a.jpg", "sub/c.jpg", "./d.jpg"]
    );
    let label = |s: &Sample| s.label;
    let got: Vec<_> = dataset.samples.iter().map(label).collect();
    assert_eq!(got, [Some(1), Some(0), Some(0), Some(1)]);
    let lines: Vec<_> = dataset.samples.iter().map(|s| s.line.unwrap()).collect();
    assert_eq!(lines, [2, 3, 5, 7]);
    assert_eq!(dataset.columns, ["sex"]);
    assert_eq!(
        dataset.field(&dataset.samples[2], "sex"),
        Some("two\r\nlines")
    );
    assert_eq!(dataset.field(&dataset.samples[1], "sex"), Some(""));
    assert_eq!(dataset.field(&dataset.samples[1], "age"), None);
    assert_eq!(dataset.class_counts(2), [2, 2]);
    assert_eq!(dataset.filtered_out, 0);
    let Layout::Table { images, .. } = &dataset.layout else {
        panic!("{}", dataset.layout);
    };
    assert_eq!(images, folder.path());
    assert!(dataset.samples.iter().all(|s| s.path.is_file()));
}

#[test]
fn photos_may_lie_in_a_folder_beside_the_table() {
    let (folder, path) = table(
        &["images/a.jpg", "images/b.jpg", "a.jpg"],
        b"file\na.jpg\nb.jpg",
    );
    let dataset = Dataset::open(&path, Labels::Optional(&[]), &[]).unwrap();
    let images = folder.path().join("images");
    assert_eq!(dataset.samples[0].path, images.join("a.jpg"));
    assert!(dataset.layout.to_string().ends_with("images"));
    fs::rename(&path, folder.path().join(TABLE_NAME)).unwrap();
    let by_folder = Dataset::open(folder.path(), Labels::Optional(&[]), &[]).unwrap();
    assert_eq!(names(&by_folder), ["a.jpg", "b.jpg"]);
}

#[test]
fn filters_keep_rows_and_count_the_rest() {
    let text = b"file,label,split\na.jpg,nv,val\nb.jpg,nv,train\nc.jpg,mel,val\na.jpg,what,train";
    let (_folder, path) = table(&["a.jpg", "c.jpg"], text);
    let known = labels("nv mel");
    let open = |filters: &[&str]| {
        let filters: Vec<RowFilter> = filters.iter().map(|f| f.parse().unwrap()).collect();
        Dataset::open(&path, Labels::Required(&known), &filters)
    };
    let val = open(&["split=val"]).unwrap();
    assert_eq!(names(&val), ["a.jpg", "c.jpg"]);
    assert_eq!(val.filtered_out, 2);
    let both = open(&["split=val", "label = mel"]).unwrap();
    assert_eq!(names(&both), ["c.jpg"]);
    for (filter, kind, says) in [
        ("splits=val", "unknown_column", "did you mean `split`?"),
        ("split=test", "filter_leaves_nothing", "val, train"),
    ] {
        let error = open(&[filter]).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.hint().contains(says), "{}", error.hint());
    }
    let bad = "split".parse::<RowFilter>().unwrap_err();
    assert_eq!(bad.kind(), "bad_filter_syntax");
}

#[test]
fn every_mistake_of_a_table_names_its_line() {
    let known = labels("nv mel NV2 nv2");
    for (text, kind, says) in [
        ("", "empty_table", "file,label"),
        (" \n\n", "empty_table", "file,label"),
        ("file,label\n", "table_without_rows", "file,label"),
        (
            "filename,label\na.jpg,nv",
            "missing_column",
            "is it `filename`?",
        ),
        ("file,dx\na.jpg,nv", "missing_column", "is it `dx`?"),
        ("file;label\na.jpg;nv", "missing_column", "separated by `;`"),
        (
            "file\tlabel\na.jpg\tnv",
            "missing_column",
            "separated by tabs",
        ),
        (
            "fil,label\na.jpg,nv",
            "missing_column",
            "did you mean `fil`?",
        ),
        (
            "file,label,label\na.jpg,nv,nv",
            "column_twice",
            "two columns `label`",
        ),
        (
            "file,label\na.jpg,nv\nb.jpg",
            "ragged_row",
            "line 3: expected 2 columns, got 1",
        ),
        (
            "file,label\na.jpg,nv,x",
            "ragged_row",
            "line 2: expected 2 columns, got 3",
        ),
        ("file,label\n,nv", "row_without_file", "line 2"),
        ("file,label\n\"a\0.jpg\",nv", "table_is_not_utf8", "line 2"),
        ("file,label\na.jpg,", "row_without_label", "line 2"),
        (
            "file,label\na.jpg,nv\nb.jpg,me",
            "unknown_label",
            "line 3: the model has no label `me`; did you mean `mel`?",
        ),
        ("file,label\na.jpg,3", "unknown_label", "names, not numbers"),
        (
            "file,label\na.jpg,Nv2",
            "unknown_label",
            "NV2 or nv2 exactly",
        ),
        (
            "file,label\na.jpg,nv\nb.jpg,nv\n./a.jpg,nv",
            "duplicate_row",
            "line 4: `./a.jpg` is also in line 2",
        ),
        (
            "file,label\na.jpg,nv\na.jpg,mel",
            "conflicting_labels",
            "line 3: `a.jpg` has label `mel`, but `nv` in line 2",
        ),
        (
            "file,label\na.jpg,nv\nx.jpg,nv\ny,nv",
            "missing_files",
            "2 of 3 files",
        ),
        (
            "file,label\na.jpg,nv\nx.jpg,nv\ny,nv",
            "missing_files",
            "`x.jpg` (line 3), `y` (line 4)",
        ),
        ("file,label\na,nv", "missing_files", "extension"),
        ("file,label\nd\\a.jpg,nv", "missing_files", "`/`"),
        ("file,label\n../no/a.jpg,nv", "missing_files", "1 of 1"),
        ("PK\u{3}\u{4}xl", "not_a_table", "a zip archive"),
    ] {
        let (_folder, path) = table(&["a.jpg", "b.jpg"], text.as_bytes());
        let error = Dataset::open(&path, Labels::Required(&known), &[]).unwrap_err();
        let message = format!("{error}; {}", error.hint());
        assert_eq!(error.kind(), kind, "{text:?}: {message}");
        assert!(message.contains(says), "{text:?}: {message}");
        assert!(!error.hint().is_empty(), "{text:?}");
    }
    for (bytes, kind, says) in [
        (
            &b"file,label\na.jpg,nv\nb\xE9.jpg,nv"[..],
            "table_is_not_utf8",
            "line 3",
        ),
        (b"\xFF\xFEf\0i\0l\0e\0", "table_is_not_utf8", "UTF-16"),
        (b"\xFF\xD8\xFF\xE0", "not_a_table", "a JPEG photo"),
    ] {
        let (_folder, path) = table(&["a.jpg"], bytes);
        let error = Dataset::open(&path, Labels::Required(&known), &[]).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let error = Dataset::open(Path::new("no-such"), Labels::Optional(&[]), &[]).unwrap_err();
    assert_eq!(error.kind(), "unreadable_dataset");
}

#[test]
fn many_missing_files_are_counted_and_a_few_named() {
    let rows: Vec<String> = (0..40).map(|i| format!("p{i}.jpg")).collect();
    let (_folder, path) = table(&["p7.jpg"], format!("file\n{}", rows.join("\n")).as_bytes());
    let error = Dataset::open(&path, Labels::Optional(&[]), &[]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("39 of 40"), "{text}");
    assert!(text.ends_with("`p4.jpg` (line 6), ..."), "{text}");
}

#[test]
fn a_label_is_optional_for_calibration_but_must_be_the_models() {
    let (_folder, path) = table(&["a.jpg", "b.jpg"], b"file,label\na.jpg,\nb.jpg,nv");
    let known = labels("nv mel");
    let dataset = Dataset::open(&path, Labels::Optional(&known), &[]).unwrap();
    assert_eq!(dataset.samples[0].label, None);
    assert_eq!(dataset.samples[1].label, Some(0));
    let other = labels("cat dog");
    let error = Dataset::open(&path, Labels::Optional(&other), &[]).unwrap_err();
    assert_eq!(error.kind(), "unknown_label");
}

#[test]
fn folders_are_classes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for file in [
        "NV/b.JPG",
        "NV/a.png",
        "NV/.hidden.jpg",
        "mel/c.webp",
        "mel/x.txt",
        "__MACOSX/nv.jpg",
        "notes.txt",
        "empty/x.txt",
    ] {
        write(&at(file), b"");
    }
    let known = labels("nv mel bcc");
    let dataset = Dataset::open(folder.path(), Labels::Required(&known), &[]).unwrap();
    assert_eq!(names(&dataset), ["NV/a.png", "NV/b.JPG", "mel/c.webp"]);
    assert_eq!(dataset.class_counts(3), [2, 1, 0]);
    assert_eq!(dataset.layout, Layout::ClassFolders);
    let fails = |says: &str, kind: &str| {
        let error = Dataset::open(folder.path(), Labels::Required(&known), &[]).unwrap_err();
        let message = format!("{error}; {}", error.hint());
        assert_eq!(error.kind(), kind, "{message}");
        assert!(message.contains(says), "{message}");
    };
    write(&at("mell/a.jpg"), b"");
    fails("did you mean `mel`?", "unknown_class_folder");
    fs::remove_dir_all(at("mell")).unwrap();
    write(&at("Mel/a.jpg"), b"");
    fails("`Mel` and `mel`", "two_folders_for_a_label");
    fs::remove_dir_all(at("Mel")).unwrap();
    write(&at("loose.jpg"), b"");
    fails(
        "1 photos (`loose.jpg`) beside class folders",
        "photos_beside_class_folders",
    );
    let filter = ["split=val".parse().unwrap()];
    let error = Dataset::open(folder.path(), Labels::Required(&known), &filter).unwrap_err();
    assert_eq!(error.kind(), "filter_without_table");
}

#[test]
fn a_flat_folder_has_no_labels() {
    let folder = tempfile::tempdir().unwrap();
    let known = labels("nv mel");
    let open = |labels| Dataset::open(folder.path(), labels, &[]);
    let error = open(Labels::Optional(&known)).unwrap_err();
    assert_eq!(error.kind(), "no_photos");
    write(&folder.path().join("train/nv/a.jpg"), b"");
    let error = open(Labels::Optional(&known)).unwrap_err();
    assert!(
        error.hint().contains("is it one of `train`?"),
        "{}",
        error.hint()
    );
    for file in ["b.jpg", "a.jpg"] {
        write(&folder.path().join(file), b"");
    }
    let dataset = open(Labels::Optional(&known)).unwrap();
    assert_eq!(names(&dataset), ["a.jpg", "b.jpg"]);
    assert_eq!(dataset.layout, Layout::Flat);
    let error = open(Labels::Required(&known)).unwrap_err();
    assert_eq!(error.kind(), "unlabelled_photos");
}

/// The committed photos, the embedded model, and its input.
fn fixtures() -> (Dataset, artifact::Model, PhotoInput) {
    let model = artifact::embedded().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let labels = Labels::Required(&model.manifest.labels);
    let dataset = Dataset::open(&path, labels, &[]).unwrap();
    let input = PhotoInput::of(&model).unwrap();
    (dataset, model, input)
}

fn options(threads: usize) -> StreamOptions {
    StreamOptions {
        threads,
        limits: Limits::default(),
    }
}

#[test]
fn streamed_photos_are_in_order_and_give_the_bits_of_predict() {
    let (mut dataset, model, input) = fixtures();
    assert_eq!(dataset.samples.len(), 210);
    assert_eq!(dataset.class_counts(7), [30; 7]);
    dataset.samples.truncate(23);
    let dataset = Arc::new(dataset);
    let predictor = || {
        let options = Options {
            threads: 1,
            isa: crate::kernels::Isa::detect(),
            keep: Vec::new(),
        };
        Predictor::new(&model, Engine::new(&model.graph, &options).unwrap()).unwrap()
    };
    let (mut plain, mut prepared) = (predictor(), predictor());
    for threads in [1, 3] {
        let stream = PhotoStream::new(
            dataset.clone(),
            std::slice::from_ref(&input),
            options(threads),
        )
        .unwrap();
        assert_eq!(stream.len(), 23);
        let mut next = 0;
        for one in stream {
            assert_eq!(one.index, next);
            next += 1;
            let photo = one.photo.unwrap();
            let path = &dataset.samples[one.index].path;
            let (_, expected) = plain.predict_file(path, &Limits::default(), &[]).unwrap();
            let got = prepared.predict_prepared(photo.input(0), &[]).unwrap();
            assert_eq!(
                bits(&got.logits),
                bits(&expected.logits),
                "{}",
                path.display()
            );
            assert_eq!(bits(&got.probabilities), bits(&expected.probabilities));
        }
        assert_eq!(next, 23);
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn two_models_share_a_photo_and_what_is_equal() {
    let (mut dataset, model, input) = fixtures();
    dataset.samples.truncate(3);
    let mut other = model.clone();
    for spec in &mut other.manifest.inputs {
        if let artifact::InputKind::Image { preprocessing } = &mut spec.kind {
            *preprocessing = Preprocessing::preset("unit", input.shape()).unwrap();
        }
    }
    let different = PhotoInput::of(&other).unwrap();
    assert!(!input.makes_the_same_as(&different));
    let inputs = [input.clone(), different.clone(), input.clone()];
    let stream = PhotoStream::new(Arc::new(dataset), &inputs, options(2)).unwrap();
    for one in stream {
        let photo = one.photo.unwrap();
        assert_eq!(photo.input(0).as_ptr(), photo.input(2).as_ptr(), "shared");
        assert_ne!(photo.input(0), photo.input(1));
        assert_eq!(photo.input(1).len(), different.len());
    }
}

#[test]
fn a_photo_that_cannot_be_read_stops_no_other() {
    let (mut dataset, _, input) = fixtures();
    dataset.samples.truncate(5);
    let folder = tempfile::tempdir().unwrap();
    let torn = folder.path().join("torn.jpg");
    let whole = fs::read(&dataset.samples[1].path).unwrap();
    write(&torn, &whole[..whole.len() / 2]);
    dataset.samples[1].path = torn;
    dataset.samples[3].path = folder.path().join("gone.jpg");
    let stream = PhotoStream::new(Arc::new(dataset), &[input], options(2)).unwrap();
    let kinds: Vec<_> = stream
        .map(|one| one.photo.map_or_else(|error| error.kind(), |_| "fine"))
        .collect();
    assert_eq!(
        kinds,
        ["fine", "truncated_photo", "fine", "no_such_file", "fine"]
    );
}

#[test]
fn a_stream_can_be_left_early_and_never_runs_ahead() {
    let (dataset, _, input) = fixtures();
    let dataset = Arc::new(dataset);
    let started = std::time::Instant::now();
    let mut stream =
        PhotoStream::new(dataset.clone(), std::slice::from_ref(&input), options(2)).unwrap();
    assert_eq!(stream.next().unwrap().index, 0);
    // Threads that did not wait for the reader would have read all photos by now.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(stream.waiting(), 4, "the window of two threads");
    assert!(stream.worst_bytes() > 2 * options(2).limits.max_memory_bytes);
    drop(stream);
    assert!(
        started.elapsed().as_secs() < 20,
        "a drop waits for one photo a thread"
    );
    assert_eq!(Arc::strong_count(&dataset), 1, "the threads are gone");
}

/// The embedded model with a patient's two numbers beside the photo.
fn with_patient() -> artifact::Model {
    let mut model = artifact::embedded().unwrap();
    let last = model.graph.output();
    model.graph.push_input("patient", [2].into()).unwrap();
    // An input that no node reads is enough to test its numbers.
    model.graph.set_output(last).unwrap();
    model.manifest.inputs.push(artifact::InputSpec {
        name: "patient".into(),
        kind: artifact::InputKind::Vector { default: None },
    });
    model
}

#[test]
fn columns_become_extra_inputs() {
    let model = with_patient();
    let text = "version: 1\ninputs:\n  patient:\n    - number: age\n      missing: 7\n    - number: height\n      missing: 1\n";
    let mapping = FieldMapping::from_yaml(text, &model.vector_inputs()).unwrap();
    let (_folder, path) = table(&["a.jpg", "b.jpg"], b"file,age,sex\na.jpg,50,f\nb.jpg,,m");
    let dataset = Dataset::open(&path, Labels::Optional(&[]), &[]).unwrap();
    let inputs = RowInputs::new(&model, Some(&mapping), Vec::new());
    let coverage = inputs.check(&dataset).unwrap();
    assert_eq!(coverage.absent, ["height"]);
    assert_eq!(coverage.missing, [("age".to_owned(), 1)]);
    assert_eq!(coverage.unused_columns, ["sex"]);
    let of = |i: usize| {
        inputs.of(&dataset, &dataset.samples[i]).unwrap()[0]
            .1
            .clone()
    };
    assert_eq!(of(0), [50.0, 1.0]);
    assert_eq!(of(1), [7.0, 1.0]);

    let without = RowInputs::new(&model, None, Vec::new())
        .check(&dataset)
        .unwrap_err();
    assert_eq!(without.kind(), "missing_input");
    assert!(without.hint().contains("--fields"), "{}", without.hint());
    let given = vec!["patient=1,2".parse().unwrap()];
    let fixed = RowInputs::new(&model, Some(&mapping), given);
    assert_eq!(
        fixed.of(&dataset, &dataset.samples[0]).unwrap()[0].1,
        [1.0, 2.0]
    );
    assert_eq!(fixed.check(&dataset).unwrap().absent, [""; 0]);

    let (_folder, path) = table(&["a.jpg", "b.jpg"], b"file,age\na.jpg,50\nb.jpg,old");
    let dataset = Dataset::open(&path, Labels::Optional(&[]), &[]).unwrap();
    let error = inputs.check(&dataset).unwrap_err();
    assert_eq!(error.kind(), "field_is_no_number");
    assert_eq!(error.to_string(), "line 3 (`b.jpg`)");
}
