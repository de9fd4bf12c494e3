//! The user's data on its way through a session.

use sentei_runtime::{Data, Level, RunError, Runtime, Session, SessionError, SessionOptions, Tensor};

/// One batch: a tensor for each of the model's inputs, by name.
pub type Batch = Vec<(String, Tensor)>;

/// The calibration data, as often as it is asked for; the same batches in the same order each time. Rows are the first
/// axis of every tensor.
pub type Batches<'a> = dyn Fn() -> Box<dyn Iterator<Item = Batch> + 'a> + 'a;

/// Values a run may give before rows are fed in smaller portions, and values kept for comparing: 32 MiB of floats.
pub(super) const PORTION: usize = 1 << 23;

/// Rows a run gets at most: what stays inside the session, and is not given, counts too.
const ROWS: usize = 32;

/// A session fed so that what it gives at once stays small, however large the batches are.
pub(super) struct Feed {
    session: Session,
    /// Values a row gives, once known.
    per_row: Option<usize>,
}

impl Feed {
    pub(super) fn new(runtime: &Runtime, model: &[u8], threads: usize) -> Result<Self, SessionError> {
        // No arena: it would keep the largest run resident.
        let options = SessionOptions { threads, optimization: Level::All, deterministic: true, arena: false };
        Ok(Self { session: runtime.session_from_bytes(model, &options)?, per_row: None })
    }

    /// Names of the outputs, in the order [`Self::each`] gives them.
    pub(super) fn outputs(&self) -> Vec<String> {
        self.session.outputs().iter().map(|port| port.name.clone()).collect()
    }

    /// Runs a batch and hands over, portion by portion, the number of rows and the outputs. Rows of one batch may come
    /// in several portions.
    pub(super) fn each<E: From<RunError>>(
        &mut self,
        batch: &Batch,
        mut see: impl FnMut(usize, &[Tensor]) -> Result<(), E>,
    ) -> Result<(), E> {
        let rows = rows(batch);
        let mut at = 0;
        while at < rows {
            let portion = if self.splits() {
                // The first row alone tells how large a row is.
                self.per_row.map_or(1, |per_row| (PORTION / per_row.max(1)).clamp(1, ROWS)).min(rows - at)
            } else {
                rows
            };
            let outputs = if portion == rows {
                self.run(batch)?
            } else {
                let part: Batch =
                    batch.iter().map(|(name, tensor)| (name.clone(), slice(tensor, at, portion))).collect();
                self.run(&part)?
            };
            self.per_row = Some(outputs.iter().map(Tensor::len).sum::<usize>() / portion);
            see(portion, &outputs)?;
            at += portion;
        }
        Ok(())
    }

    fn run(&mut self, batch: &Batch) -> Result<Vec<Tensor>, RunError> {
        let inputs: Vec<(&str, &Tensor)> = batch.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        self.session.run(&inputs, None)
    }

    /// Whether the model takes any number of rows.
    fn splits(&self) -> bool {
        self.session.inputs().iter().all(|port| port.shape.as_slice().first() == Some(&None))
    }
}

/// Rows of a batch; tensors that disagree count as one row, and the session says what is wrong.
pub(super) fn rows(batch: &Batch) -> usize {
    let first = |(_, tensor): &(String, Tensor)| tensor.shape().first().copied();
    let rows = batch.first().and_then(first);
    if batch.iter().all(|entry| first(entry) == rows) { rows.unwrap_or(1) } else { 1 }
}

/// `count` rows of a tensor, from row `from`.
fn slice(tensor: &Tensor, from: usize, count: usize) -> Tensor {
    macro_rules! by_type {
        ($($variant:ident)+) => {
            match tensor.data() { $(Data::$variant(values) => {
                let row = values.len() / tensor.shape()[0].max(1);
                Data::$variant(values[from * row..(from + count) * row].to_vec())
            })+ }
        };
    }
    let data = by_type!(F32 F64 F16 I64 I32 I16 I8 U64 U32 U16 U8 Bool);
    let mut shape = tensor.shape().to_vec();
    shape[0] = count;
    Tensor::new(shape, data).unwrap_or_else(|_| tensor.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_out_whole() {
        let tensor = Tensor::new([3, 2], vec![1_i32, 2, 3, 4, 5, 6]).expect("fits");
        assert_eq!(slice(&tensor, 1, 2), Tensor::new([2, 2], vec![3_i32, 4, 5, 6]).expect("fits"));
    }

    #[test]
    fn a_batch_has_rows_only_when_its_tensors_agree() {
        let of = |n: usize| Tensor::new([n], vec![0_u8; n]).expect("fits");
        assert_eq!(rows(&vec![("a".into(), of(3)), ("b".into(), of(3))]), 3);
        assert_eq!(rows(&vec![("a".into(), of(3)), ("b".into(), of(2))]), 1);
    }
}
