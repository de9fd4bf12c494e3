//! The reader on the example data, and on everything that can be wrong with data.

use std::{collections::BTreeMap, fs, path::PathBuf};

use proptest::prelude::*;
use sentei_api::spec::{
    DataSource, Preprocess, Selector,
    data::{Fit, ImageLayout},
    task::{Classification, Ctc, Regression},
};
use sentei_runtime::Dtype;
use tempfile::TempDir;

use super::{
    fixtures::{bytes_array, floats, integers, npy, write_npz},
    *,
};

/// A folder of data for a model that takes `x` float `[?, 4]`, and the manifest section about it.
struct Case {
    folder: TempDir,
    data: Data,
    input: Input,
}

fn source(uri: &str) -> DataSource {
    let (inputs, columns) = (BTreeMap::new(), BTreeMap::new());
    DataSource { uri: uri.into(), inputs, labels: None, columns, r#where: None, limit: None }
}

fn slice(name: &str, column: &str, values: &[&str], weight: f64) -> Slice {
    let r#in = values.iter().map(|value| (*value).to_owned()).collect();
    Slice { name: name.into(), selector: Selector { column: column.into(), r#in, not_in: Vec::new() }, weight }
}

/// `rows` rows of 4 floats, no two alike, beginning with `first`.
fn rows(first: f32, rows: usize) -> Vec<u8> {
    let values: Vec<f32> = (0..rows * 4).map(|i| first + i as f32).collect();
    floats(&[rows, 4], &values)
}

fn labels(count: i64) -> Vec<u8> {
    integers(&(0..count).map(|row| row % 3).collect::<Vec<_>>())
}

impl Case {
    /// Good data: 12 rows to calibrate on and 24 to evaluate on, labels 0, 1, 2.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_npz(&folder.path().join("c.npz"), &[("x", rows(-1000.0, 12)), ("y", labels(12))]);
        write_npz(&folder.path().join("e.npz"), &[("x", rows(0.0, 24)), ("y", labels(24))]);
        let data = Data {
            calibration: source("c.npz"),
            evaluation: source("e.npz"),
            preprocess: Preprocess::default(),
            slices: Vec::new(),
        };
        let input = Input { name: "x".into(), dtype: Dtype::F32, shape: vec![None, Some(4)] };
        Self { folder, data, input }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn evaluation(self, arrays: &[(&str, Vec<u8>)]) -> Self {
        write_npz(&self.path("e.npz"), arrays);
        self
    }

    fn change(mut self, change: impl FnOnce(&mut Data)) -> Self {
        change(&mut self.data);
        self
    }

    fn open(&self) -> Result<Dataset, DataError> {
        Dataset::open(&self.data, self.folder.path(), 0, std::slice::from_ref(&self.input))
    }

    /// The message, with the folder's name taken out.
    fn message(&self) -> String {
        let error = self.open().expect_err("must be refused");
        error.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }

    fn truth(&self, task: &Task) -> String {
        let error = self.open().unwrap().truth(Part::Verification, task, 3).expect_err("must be refused");
        error.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn classification() -> Task {
    Task::Classification(Classification::default())
}

fn examples() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples"))
}

#[test]
fn digits_come_in_three_parts_that_share_no_row() {
    let mut evaluation = source("digits/digits.npz");
    evaluation.inputs = BTreeMap::from([("input".into(), "x_evaluation".into())]);
    evaluation.labels = Some("y_evaluation".into());
    let mut calibration = source("digits/digits.npz");
    calibration.inputs = BTreeMap::from([("input".into(), "x_calibration".into())]);
    let preprocess = Preprocess {
        scale: Some(1.0 / 255.0),
        mean: vec![0.154_776_36],
        std: vec![0.305_147_7],
        shape: vec![1, 28, 28],
        image: None,
    };
    let slices = vec![slice("round", "label", &["0", "6", "8", "9"], 1.0)];
    let data = Data { calibration, evaluation, preprocess, slices };
    let input = Input { name: "input".into(), dtype: Dtype::F32, shape: vec![None, Some(1), Some(28), Some(28)] };
    let digits = Dataset::open(&data, &examples(), 0, &[input]).unwrap();

    let count = |part| digits.len(part);
    assert_eq!((count(Part::Calibration), count(Part::Verification), count(Part::Report)), (1024, 1500, 1500));
    let (verification, report) = (&digits.verification, &digits.report);
    assert!(verification.iter().all(|row| !report.contains(row)));
    let round = |part| digits.slice_rows(part, 0).len();
    assert!(round(Part::Verification).abs_diff(round(Part::Report)) <= 4);
    assert_eq!(digits.notes().len(), 1, "calibration rows were given no labels: {:?}", digits.notes());

    let batch = digits.batches(Part::Report, 64).next().unwrap();
    assert_eq!(batch.inputs[0].1.shape(), [64, 1, 28, 28]);
    let values = batch.inputs[0].1.values::<f32>().unwrap();
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    assert!(mean.abs() < 0.1, "normalised pixels have mean {mean}");
    let sizes: Vec<usize> = digits.batches(Part::Report, 64).map(|batch| batch.rows.len()).collect();
    assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (24, 1500));
}

#[test]
fn where_and_limit_keep_the_rows_asked_for() {
    let case = Case::new().change(|data| {
        data.evaluation.r#where = Some(Selector { column: "label".into(), r#in: vec!["1".into()], not_in: Vec::new() });
        data.calibration.limit = Some(5);
    });
    let dataset = case.open().unwrap();
    assert_eq!(dataset.len(Part::Calibration), 5);
    assert_eq!(dataset.len(Part::Verification) + dataset.len(Part::Report), 8);
    let labels: Vec<_> = (0..4).map(|row| dataset.label(Part::Report, row).unwrap()).collect();
    assert_eq!(labels, ["1"; 4]);
    let values = dataset.batch(Part::Verification, &[0]).inputs[0].1.values::<f32>().unwrap().to_vec();
    assert_eq!((values[0] / 4.0) as usize % 3, 1, "the rows belong to the labels: {values:?}");
}

#[test]
fn rows_count_by_the_weight_of_their_slices() {
    let case = Case::new().change(|data| {
        data.calibration.limit = None;
        data.slices = vec![slice("ones", "label", &["1"], 3.0), slice("some", "label", &["1", "2"], 1.0)];
    });
    let dataset = case.open().unwrap();
    // 4 rows each of 0 (no slice, weight 1), 1 (slices of 3 and 1: 2) and 2 (weight 1); the mean is 4/3.
    let weights = dataset.row_weights(Part::Calibration);
    let expected = [0.75, 1.5, 0.75];
    assert!(weights.iter().enumerate().all(|(row, weight)| (weight - expected[row % 3]).abs() < 1e-12), "{weights:?}");
    assert!((weights.iter().sum::<f64>() - 12.0).abs() < 1e-9);
    assert!(dataset.in_slice(Part::Calibration, 0, 1) && !dataset.in_slice(Part::Calibration, 0, 2));
}

#[test]
fn rows_used_for_calibration_are_left_out_of_evaluation() {
    let values: Vec<f32> = (0..12).map(|i| -1000.0 + i as f32).chain((0..96).map(|i| i as f32)).collect();
    let case = Case::new().evaluation(&[("x", floats(&[27, 4], &values)), ("y", labels(27))]);
    let dataset = case.open().unwrap();
    assert_eq!(dataset.len(Part::Verification) + dataset.len(Part::Report), 24);
    assert_eq!(dataset.notes(), ["3 of 27 evaluation rows are calibration rows too; they are left out of evaluation"]);
}

#[test]
fn the_same_rows_twice_are_refused() {
    let case = Case::new().change(|data| data.calibration.uri = "e.npz".into());
    assert_eq!(
        case.message(),
        "24 of 24 rows of data.evaluation are rows of data.calibration too; give rows of their own for evaluation, \
         or tell the sets apart with `where`"
    );
}

#[test]
fn a_file_that_is_not_there_or_not_data_is_named() {
    let message = |uri: &str| Case::new().change(|data| data.evaluation.uri = uri.into()).message();
    assert_eq!(
        message("nowhere.npz"),
        "cannot read `nowhere.npz` (data.evaluation): No such file or directory (os error 2); check the path, which \
         is relative to the manifest"
    );
    assert_eq!(
        message("nowhere.txt"),
        "cannot read `nowhere.txt` (data.evaluation): entity not found; check the path, which is relative to the \
         manifest"
    );
    assert_eq!(
        message("s3://bucket/e.npz"),
        "data.evaluation.uri `s3://bucket/e.npz` is not on this machine; copy the data here and give its path"
    );
    let case = Case::new().change(|data| data.evaluation.uri = "e.parquet".into());
    fs::write(case.path("e.parquet"), "PAR1").unwrap();
    assert!(case.message().starts_with("`e.parquet` (data.evaluation) is not data Sentei reads; expected an .npz"));
}

#[test]
fn a_damaged_archive_is_named() {
    let case = Case::new();
    let bytes = fs::read(case.path("e.npz")).unwrap();
    fs::write(case.path("e.npz"), &bytes[..bytes.len() / 2]).unwrap();
    let message = case.message();
    assert!(message.starts_with("`e.npz` (data.evaluation) is not a readable npz archive: "), "{message}");
    assert!(message.ends_with("; it may be truncated, copy or save it again"), "{message}");

    let mut corrupt = bytes;
    for byte in &mut corrupt[100..140] {
        *byte ^= 0x5a;
    }
    fs::write(case.path("e.npz"), &corrupt).unwrap();
    let message = case.message();
    assert!(message.starts_with("array `x` in `e.npz` "), "{message}");
}

#[test]
fn an_array_that_promises_more_than_it_holds_is_truncated() {
    let case = Case::new().evaluation(&[("x", npy("'<f4'", "(1000000, 4)", &[0; 64])), ("y", labels(24))]);
    assert_eq!(
        case.message(),
        "array `x` in `e.npz` is truncated: its header promises 16000000 bytes of values, 64 are there; copy the \
         file again"
    );
}

#[test]
fn an_absent_array_is_answered_with_those_there_are() {
    let case = Case::new().evaluation(&[("pixels", rows(0.0, 24)), ("y", labels(24))]);
    assert_eq!(
        case.message(),
        "`e.npz` holds no array `x`, wanted by data.evaluation.inputs.x; it holds `pixels`, `y`; name one of these \
         there"
    );
    let case = Case::new().change(|data| data.evaluation.labels = Some("truth".into()));
    assert_eq!(
        case.message(),
        "`e.npz` holds no array `truth`, wanted by data.evaluation.labels; it holds `x`, `y`; name one of these there"
    );
    let case = Case::new().change(|data| data.evaluation.columns = BTreeMap::from([("font".into(), "fonts".into())]));
    let case = case.change(|data| data.slices = vec![slice("seven", "font", &["dseg7"], 1.0)]);
    assert!(case.message().contains("no array `fonts`, wanted by data.evaluation.columns.font; it holds `x`, `y`"));
    let case = Case::new().change(|data| data.evaluation.inputs = BTreeMap::from([("image".into(), "x".into())]));
    assert_eq!(
        case.message(),
        "data.evaluation.inputs names `image`, which the model does not have; its inputs are `x`"
    );
}

#[test]
fn rows_of_the_wrong_shape_or_type_are_refused() {
    let wide = floats(&[24, 5], &(0..120).map(|i| i as f32).collect::<Vec<_>>());
    let case = Case::new().evaluation(&[("x", wide), ("y", labels(24))]);
    assert_eq!(
        case.message(),
        "array `x` in `e.npz` has rows of shape [5], but model input `x` takes [4] for each row; give the rows in \
         the model's shape, or set data.preprocess.shape"
    );
    let text = npy("'|S1'", "(24, 4)", &[b'a'; 96]);
    let case = Case::new().evaluation(&[("x", text), ("y", labels(24))]);
    assert_eq!(
        case.message(),
        "array `x` in `e.npz` holds text, but model input `x` takes float; save the rows as numbers"
    );
    let mut case = Case::new();
    case.input.dtype = Dtype::I64;
    assert_eq!(
        case.message(),
        "array `x` in `c.npz` holds float, but model input `x` takes int64; save the array in that type (numpy: \
         .astype)"
    );
    let case = Case::new().evaluation(&[("x", npy("'<f4'", "()", &[0; 4])), ("y", labels(24))]);
    assert!(case.message().contains("is a single value, expected a first axis that counts rows"));
}

#[test]
fn nan_is_found_with_its_row() {
    let mut values: Vec<f32> = (0..96).map(|i| i as f32).collect();
    values[42] = f32::NAN;
    values[50] = f32::INFINITY;
    let case = Case::new().evaluation(&[("x", floats(&[24, 4], &values)), ("y", labels(24))]);
    assert_eq!(
        case.message(),
        "array `x` in `e.npz` has NaN in row 10 (value 2 of the row, counting from 0), and 1 more like it; remove or \
         repair these rows"
    );
}

#[test]
fn counts_of_rows_must_agree() {
    let case = Case::new().evaluation(&[("x", rows(0.0, 24)), ("y", labels(23))]);
    assert_eq!(
        case.message(),
        "array `y` in `e.npz` has 23 rows, but array `x` in `e.npz` has 24; they must belong together row by row"
    );
}

#[test]
fn labels_must_be_there_and_be_classes() {
    let case = Case::new().evaluation(&[("x", rows(0.0, 24))]);
    assert_eq!(
        case.truth(&classification()),
        "the rows of `e.npz` (data.evaluation) have no labels, and the task needs them; name their array or column \
         in data.evaluation.labels (default `y`, CSV `label`)"
    );
    let mut classes = vec![0_i64; 24];
    classes.iter_mut().step_by(2).for_each(|class| *class = 7);
    let case = Case::new().evaluation(&[("x", rows(0.0, 24)), ("y", integers(&classes))]);
    let message = case.truth(&classification());
    assert!(message.starts_with("array `y` in `e.npz`: the label of row "), "{message}");
    assert!(message.contains(" is `7`, expected a class from 0 to 2; correct the label"), "{message}");

    let wide = floats(&[24, 2], &(0..48).map(|i| i as f32).collect::<Vec<_>>());
    let case = Case::new().evaluation(&[("x", rows(0.0, 24)), ("y", wide)]);
    assert_eq!(
        case.truth(&Task::Ctc(Ctc::default())),
        "array `y` in `e.npz` holds 2 values for each row, but the task needs one text for each row"
    );
    let regression = Task::Regression(Regression { output: None, tolerance: 0.1 });
    let truth = case.open().unwrap().truth(Part::Report, &regression, 0).unwrap();
    assert!(matches!(truth, Truth::Numbers { width: 2, values } if values.len() == 24));
}

#[test]
fn a_slice_needs_its_column_and_some_rows_in_each_part() {
    let case = Case::new().change(|data| data.slices = vec![slice("night", "light", &["dark"], 1.0)]);
    assert_eq!(
        case.message(),
        "`e.npz` has no column `light`, wanted by data.slices `night`; it has `label`; name one of these, or map an \
         array to it in data.evaluation.columns"
    );
    let case = Case::new().change(|data| data.slices = vec![slice("nines", "label", &["9"], 1.0)]);
    assert_eq!(
        case.message(),
        "slice `nines` has 0 rows in the verification part of data.evaluation, expected at least 2; its selector \
         looks at column `label`, which holds `0`, `1`, `2`"
    );
    let case = Case::new().change(|data| {
        data.evaluation.r#where = Some(Selector { column: "light".into(), ..Selector::default() });
    });
    assert!(case.message().contains("no column `light`, wanted by data.evaluation.where; it has `label`"));
    let case = Case::new().change(|data| {
        data.evaluation.r#where = Some(Selector { column: "label".into(), r#in: vec!["9".into()], not_in: vec![] });
    });
    assert_eq!(case.message(), "no rows are left in `e.npz` (data.evaluation); column `label` holds `0`, `1`, `2`");
    let case = Case::new().change(|data| {
        data.slices = ["0", "1", "2"].map(|label| slice(&format!("s{label}"), "label", &[label], 0.0)).to_vec();
    });
    assert_eq!(
        case.message(),
        "every calibration row is in a slice of weight 0; give at least one slice a weight above 0"
    );
}

#[test]
fn a_single_npy_is_calibration_data() {
    let case = Case::new().change(|data| data.calibration.uri = "c.npy".into());
    fs::write(case.path("c.npy"), rows(-1000.0, 12)).unwrap();
    assert_eq!(case.open().unwrap().len(Part::Calibration), 12);
    fs::write(case.path("c.npy"), b"not an array").unwrap();
    assert_eq!(
        case.message(),
        "`c.npy` is not an npy array (it does not start with \\x93NUMPY); save it with numpy.save or numpy.savez"
    );
    let two = [case.input.clone(), Input { name: "mask".into(), ..case.input.clone() }];
    let error = Dataset::open(&case.data, case.folder.path(), 0, &two).unwrap_err().to_string();
    assert!(error.contains("feeds one model input, but the model has `x`, `mask`; give an .npz"), "{error}");
}

#[test]
fn one_archive_may_hold_both_sets_and_two_inputs() {
    let case = Case::new();
    let arrays = [("ids", bytes_array(&[24, 3])), ("x", rows(0.0, 24)), ("y", labels(24))];
    let case = case.evaluation(&arrays);
    write_npz(&case.path("c.npz"), &[("ids", bytes_array(&[12, 3])), ("x", rows(-500.0, 12))]);
    let ids = Input { name: "ids".into(), dtype: Dtype::I64, shape: vec![None, None] };
    let dataset = Dataset::open(&case.data, case.folder.path(), 0, &[ids, case.input.clone()]).unwrap();
    let batch = dataset.batch(Part::Calibration, &[1]);
    let names: Vec<&str> = batch.feed().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["ids", "x"]);
    assert_eq!(batch.inputs[0].1.values::<i64>().unwrap(), [21, 28, 35]);
}

/// A folder of grey pictures with labels.csv; each picture has one shade.
fn pictures() -> Case {
    let case = Case::new();
    for set in ["c", "e"] {
        fs::create_dir(case.path(set)).unwrap();
        let mut table = vec!["file,label,font".to_owned()];
        for row in 0..8_u8 {
            let shade = if set == "c" { row } else { 100 + row };
            let name = format!("{row}.{}", if row % 2 == 0 { "png" } else { "jpg" });
            image::GrayImage::from_pixel(8, 4, image::Luma([shade * 2])).save(case.path(set).join(&name)).unwrap();
            let font = if row < 4 { "seven" } else { "print" };
            table.push(format!("{name},{row:03},{font}"));
        }
        fs::write(case.path(set).join("labels.csv"), table.join("\n")).unwrap();
    }
    let mut case = case.change(|data| {
        data.calibration.uri = "c".into();
        data.evaluation.uri = "e/labels.csv".into();
        data.preprocess.image = Some(ImageLayout { height: 2, width: 6, channels: 3, fit: Fit::PadRight });
        data.slices = vec![slice("seven", "font", &["seven"], 4.0)];
    });
    case.input.shape = vec![None, Some(3), Some(2), None];
    case
}

#[test]
fn pictures_are_read_by_a_table_of_files_and_labels() {
    let dataset = pictures().open().unwrap();
    assert_eq!((dataset.len(Part::Calibration), dataset.len(Part::Report)), (8, 4));
    let batch = dataset.batch(Part::Calibration, &[6]);
    assert_eq!(batch.inputs[0].1.shape(), [1, 3, 2, 6]);
    let row = &batch.inputs[0].1.values::<f32>().unwrap()[..6];
    assert_eq!(row, [12.0, 12.0, 12.0, 12.0, 0.0, 0.0]);
    assert_eq!(dataset.label(Part::Calibration, 6).unwrap(), "006");
    assert_eq!(dataset.slice_rows(Part::Calibration, 0), [0, 1, 2, 3]);
    let Truth::Texts(texts) = dataset.truth(Part::Report, &Task::Ctc(Ctc::default()), 0).unwrap() else {
        panic!("texts")
    };
    assert!(texts.iter().all(|text| text.starts_with("00")), "{texts:?}");
}

#[test]
fn a_bad_table_or_picture_is_named_with_its_line() {
    let case = pictures();
    fs::write(case.path("e/0.png"), b"\x89PNG\r\n\x1a\nbroken").unwrap();
    let message = case.message();
    assert!(message.starts_with("picture `e/0.png` (row 0 of `e/labels.csv`) cannot be read: "), "{message}");
    assert!(message.ends_with("; replace it or remove its row"), "{message}");
    fs::remove_file(case.path("e/0.png")).unwrap();
    assert!(case.message().contains("No such file or directory"));

    let case = pictures();
    fs::write(case.path("e/labels.csv"), "file,label\n0.png,1\n1.jpg\n").unwrap();
    assert_eq!(
        case.message(),
        "`e/labels.csv` (data.evaluation) is not a readable table: line 3 has 1 cells, expected 2; every line needs \
         as many cells as the header"
    );
    fs::write(case.path("e/labels.csv"), "path,label\n0.png,1\n").unwrap();
    assert!(case.message().contains("has no column `file`, wanted by data.evaluation; it has `path`, `label`"));

    let mut case = pictures().change(|data| data.preprocess.image = None);
    assert!(case.message().contains("need a size, and the model's input has none; set data.preprocess.image.height"));
    case.input.shape = vec![None, Some(1), Some(2), Some(2)];
    assert!(case.open().is_ok(), "the model's own size is taken");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_mutated_archive_never_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        shorten in any::<bool>(),
    ) {
        let case = Case::new();
        let mut bytes = fs::read(case.path("e.npz")).unwrap();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if shorten {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(case.path("e.npz"), &bytes).unwrap();
        if let Ok(dataset) = case.open() {
            prop_assert_eq!(dataset.batches(Part::Report, 5).map(|batch| batch.rows.len()).sum::<usize>(), dataset.len(Part::Report));
        }
    }
}
