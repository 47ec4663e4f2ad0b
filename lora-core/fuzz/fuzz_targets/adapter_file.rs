//! `adapter_model.safetensors`: any bytes are a file of tensors or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lora_core::tensor_file::TensorFile;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("adapter_model.safetensors");
    std::fs::write(&path, bytes).expect("a temporary file");
    let Ok(file) = TensorFile::open(&path) else {
        return;
    };
    for name in file.names() {
        let shape = file.shape(&name).expect("a name has a shape").to_vec();
        // A type that cannot be read is an error; what can be read has the shape it says.
        if let Ok(data) = file.read_floats(&name) {
            assert_eq!(data.shape().to_vec(), shape);
        }
        assert!(file.read("no such tensor", &shape).is_ok_and(|found| found.is_none()));
    }
});
