//! Between PyTorch's layout of a matrix and ours.

use burn::tensor::TensorData;

/// Transposes a matrix on the host, in blocks that fit the cache, so that the device holds it
/// contiguously and every product reads it forwards.
pub(crate) fn transpose(data: TensorData) -> TensorData {
    const BLOCK: usize = 32;
    let shape = data.shape().to_vec();
    let [rows, columns] = shape[..] else {
        return data;
    };
    let Ok(source) = data.as_slice::<f32>() else {
        return data;
    };
    let mut target = vec![0f32; source.len()];
    for r0 in (0..rows).step_by(BLOCK) {
        for c0 in (0..columns).step_by(BLOCK) {
            for r in r0..(r0 + BLOCK).min(rows) {
                for c in c0..(c0 + BLOCK).min(columns) {
                    target[c * rows + r] = source[r * columns + c];
                }
            }
        }
    }
    TensorData::new(target, [columns, rows])
}
