//! The optimizer's state, by the paths of the parameters.
//!
//! Burn keys it by the parameters' ids, which are others in every process.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::tensor::{Bytes, Tensor};
use burn_pack::{Reader, Writer};

use crate::TrainError;

/// Between the path of a parameter and the name of a part of its state.
const SEPARATOR: char = '/';

/// The state in Burn's format, under the names `path/field`.
pub(super) fn by_path(optimizer: &ModuleOptimizer, path: &Path) -> Result<Bytes, TrainError> {
    let broken = |message: String| TrainError::OptimizerState {
        path: path.to_path_buf(),
        message,
    };
    let bytes = optimizer
        .to_record()
        .into_bytes()
        .map_err(|e| broken(e.to_string()))?;
    let reader = Reader::from_bytes(bytes).map_err(|e| broken(e.to_string()))?;
    let paths = reader.metadata().clone();
    let renamed = |name: &str| {
        let (id, field) = name.split_once('.')?;
        Some(format!("{}{SEPARATOR}{field}", paths.get(id)?))
    };
    let packed = repack(reader, |name| Some((renamed(name)?, None))).map_err(broken)?;
    packed.into_bytes().map_err(|e| broken(e.to_string()))
}

/// Gives `optimizer` the state that [`by_path`] wrote to `file`.
pub(super) fn restore<M: Module>(
    optimizer: ModuleOptimizer,
    module: &M,
    file: &Path,
) -> Result<ModuleOptimizer, TrainError> {
    let broken = |message: String| TrainError::OptimizerState {
        path: file.to_path_buf(),
        message,
    };
    let bytes = std::fs::read(file).map_err(|e| TrainError::io("read", file, e))?;
    let reader =
        Reader::from_bytes(Bytes::from_bytes_vec(bytes)).map_err(|e| broken(e.to_string()))?;
    let ids = ids(module);
    let renamed = |name: &str| {
        let (path, field) = name.split_once(SEPARATOR)?;
        let id = ids.get(path)?.val();
        Some((format!("{id}.{field}"), Some(id)))
    };
    let mut packed = repack(reader, renamed).map_err(broken)?;
    for (path, id) in &ids {
        packed = packed.with_metadata(&id.val().to_string(), path);
    }
    let bytes = packed.into_bytes().map_err(|e| broken(e.to_string()))?;
    let record = OptimizerRecord::from_bytes(bytes).map_err(|e| broken(e.to_string()))?;
    Ok(optimizer.load_record(record))
}

/// The tensors and numbers of `reader` under other names, tensors also with the id of their parameter.
fn repack(
    reader: Reader,
    renamed: impl Fn(&str) -> Option<(String, Option<u64>)>,
) -> Result<Writer, String> {
    let unknown = |name: &str| format!("{name} belongs to no parameter of the model");
    let mut scalars = Vec::new();
    for (name, value) in reader.scalars() {
        let (name, _) = renamed(name).ok_or_else(|| unknown(name))?;
        scalars.push((name, *value));
    }
    let mut tensors = Vec::new();
    for tensor in reader.into_tensors().map_err(|e| e.to_string())? {
        let (name, dtype, shape, _, bytes) = tensor.into_parts().map_err(|e| e.to_string())?;
        let (name, id) = renamed(&name).ok_or_else(|| unknown(&name))?;
        tensors.push(burn_pack::Tensor::new(name, dtype, shape, id, bytes));
    }
    let writer = Writer::new(tensors);
    Ok(scalars.iter().fold(writer, |writer, (name, value)| {
        writer.with_scalar(name, *value)
    }))
}

/// The id of every parameter, by its path.
fn ids<M: Module>(module: &M) -> BTreeMap<String, ParamId> {
    #[derive(Default)]
    struct Ids {
        names: Vec<String>,
        found: BTreeMap<String, ParamId>,
    }
    impl ModuleVisitor for Ids {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.names.push(name.to_string());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.names.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found.insert(self.names.join("."), param.id);
        }
    }
    let mut visitor = Ids::default();
    module.visit(&mut visitor);
    visitor.found
}
