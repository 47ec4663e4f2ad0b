//! Modules whose parts go by Hugging Face's names.
//!
//! Burn's `#[derive(Module)]` takes a part's name from its field. Two of Hugging Face's names
//! cannot be fields: `self` is a keyword, and the encoder is called `bert` or `roberta` by
//! architecture. These macros write the same implementation with names of their own, so that
//! configs, reports, records and checkpoints all say `roberta.encoder.layer.0.attention.self.query`.

/// Implements [`Module`](burn::module::Module) for a struct: `field => name`, where the name is an
/// expression over `$this`; plain fields follow after `skip`, and after `ties` the parts that use
/// another's weight, `name => path of the weight`.
macro_rules! named_module {
    (
        $this:ident: $type:ident { $($field:ident => $name:expr),+ $(,)? }
        skip { $($plain:ident),* }
        $(ties { $($tied:expr => $weight:expr),+ $(,)? })?
    ) => {
        impl burn::module::Module for $type {
            fn collect_devices(&self, devices: burn::module::Devices) -> burn::module::Devices {
                $(let devices = burn::module::Module::collect_devices(&self.$field, devices);)+
                devices
            }

            fn fork(self, device: &burn::tensor::Device) -> Self {
                Self {
                    $($field: burn::module::Module::fork(self.$field, device),)+
                    $($plain: self.$plain,)*
                }
            }

            fn to_device(self, device: &burn::tensor::Device) -> Self {
                Self {
                    $($field: burn::module::Module::to_device(self.$field, device),)+
                    $($plain: self.$plain,)*
                }
            }

            fn train(self) -> Self {
                Self {
                    $($field: burn::module::Module::train(self.$field),)+
                    $($plain: self.$plain,)*
                }
            }

            fn valid(&self) -> Self {
                Self {
                    $($field: burn::module::Module::valid(&self.$field),)+
                    $($plain: self.$plain.clone(),)*
                }
            }

            fn materialize(self) -> Self {
                Self {
                    $($field: burn::module::Module::materialize(self.$field),)+
                    $($plain: self.$plain,)*
                }
            }

            fn visit<V: burn::module::ModuleVisitor>(&self, visitor: &mut V) {
                let container = concat!("Struct:", stringify!($type));
                let $this = self;
                $(
                    let name: &'static str = $name;
                    visitor.enter_module(name, container);
                    burn::module::Module::visit(&$this.$field, visitor);
                    visitor.exit_module(name, container);
                )+
                $($(lora_core::tie::declare(visitor, $tied, $weight);)+)?
            }

            fn map<M: burn::module::ModuleMapper>(self, mapper: &mut M) -> Self {
                let container = concat!("Struct:", stringify!($type));
                let mut names = {
                    let $this = &self;
                    let _ = $this;
                    [$($name),+].into_iter()
                };
                Self {
                    $($field: {
                        let name = names.next().unwrap_or_default();
                        mapper.enter_module(name, container);
                        let field = burn::module::Module::map(self.$field, mapper);
                        mapper.exit_module(name, container);
                        field
                    },)+
                    $($plain: self.$plain,)*
                }
            }
        }

        crate::named_module::display_as_debug!($type { $($field),+ });
    };
}

/// Implements [`Module`](burn::module::Module) for an enum of modules that adds no name of its
/// own to the path.
macro_rules! transparent_module {
    ($type:ident { $($variant:ident),+ }) => {
        impl burn::module::Module for $type {
            fn collect_devices(&self, devices: burn::module::Devices) -> burn::module::Devices {
                match self { $(Self::$variant(m) => burn::module::Module::collect_devices(m, devices)),+ }
            }

            fn fork(self, device: &burn::tensor::Device) -> Self {
                match self { $(Self::$variant(m) => Self::$variant(burn::module::Module::fork(m, device))),+ }
            }

            fn to_device(self, device: &burn::tensor::Device) -> Self {
                match self { $(Self::$variant(m) => Self::$variant(burn::module::Module::to_device(m, device))),+ }
            }

            fn train(self) -> Self {
                match self { $(Self::$variant(m) => Self::$variant(burn::module::Module::train(m))),+ }
            }

            fn valid(&self) -> Self {
                match self { $(Self::$variant(m) => Self::$variant(burn::module::Module::valid(m))),+ }
            }

            fn materialize(self) -> Self {
                match self { $(Self::$variant(m) => Self::$variant(burn::module::Module::materialize(m))),+ }
            }

            fn visit<V: burn::module::ModuleVisitor>(&self, visitor: &mut V) {
                match self { $(Self::$variant(m) => burn::module::Module::visit(m, visitor)),+ }
            }

            fn map<M: burn::module::ModuleMapper>(self, mapper: &mut M) -> Self {
                match self { $(Self::$variant(m) => Self::$variant(burn::module::Module::map(m, mapper))),+ }
            }
        }

        impl burn::module::ModuleDisplay for $type {}

        impl burn::module::ModuleDisplayDefault for $type {
            fn content(&self, content: burn::module::Content) -> Option<burn::module::Content> {
                match self {
                    $(Self::$variant(m) => burn::module::ModuleDisplayDefault::content(m, content)),+
                }
            }
        }
    };
}

/// Burn's display of a module, as its derive writes it.
macro_rules! display_as_debug {
    ($type:ident { $($field:ident),+ }) => {
        impl burn::module::ModuleDisplay for $type {}

        impl burn::module::ModuleDisplayDefault for $type {
            fn content(&self, content: burn::module::Content) -> Option<burn::module::Content> {
                content
                    .set_top_level_type(stringify!($type))
                    $(.add(stringify!($field), &self.$field))+
                    .optional()
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let settings = burn::module::DisplaySettings::default();
                f.write_str(&burn::module::ModuleDisplay::format(self, settings))
            }
        }
    };
}

pub(crate) use {display_as_debug, named_module, transparent_module};
