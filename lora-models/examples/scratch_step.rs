#![allow(missing_docs)]
use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Distribution, Int, Tensor};
use lora_core::{LoraConfig, ParameterReport, TargetModules, TaskType};
use lora_models::bert::{BertConfig, EncoderInput};
use lora_models::gpt2::{CausalLm, Gpt2Config, Gpt2Input};
use lora_models::{SequenceClassifier, bert};
use std::time::Instant;

fn main() {
    let arg = |i: usize, d: &str| std::env::args().nth(i).unwrap_or(d.to_string());
    let arch = arg(1, "roberta");
    let batch: usize = arg(2, "16").parse().unwrap();
    let seq: usize = arg(3, "64").parse().unwrap();
    let steps: usize = arg(4, "6").parse().unwrap();
    let targets = arg(
        5,
        if arch == "gpt2" {
            "c_attn"
        } else {
            "query,value"
        },
    );
    let ragged = arg(6, "") == "ragged";
    let device = lora_core::default_device().autodiff();
    device.seed(0);
    let lora = LoraConfig::new().with_r(8).with_lora_alpha(16.0);
    let t: TargetModules = if targets == "all-linear" {
        "all-linear".into()
    } else {
        targets
            .split(',')
            .map(String::from)
            .collect::<Vec<_>>()
            .into()
    };
    let lora = lora.with_target_modules(t);
    let ids = Tensor::<2, Int>::random([batch, seq], Distribution::Uniform(5.0, 30000.0), &device);
    let mut mask = vec![1i32; batch * seq];
    if ragged {
        for b in 0..batch {
            let l = (seq * (b + 1) / batch).max(3);
            for s in l..seq {
                mask[b * seq + s] = 0;
            }
        }
    }
    let mask = Tensor::<1, Int>::from_data(&mask[..], &device).reshape([batch, seq]);
    let ce = |l: Tensor<2>, t: Tensor<1, Int>| {
        let [n, _] = l.dims();
        log_softmax(l, 1).gather(1, t.reshape([n, 1])).mean().neg()
    };
    if arch == "gpt2" {
        let model = CausalLm::new(&Gpt2Config::small(), &device);
        let mut lora = lora;
        lora.task_type = Some(TaskType::CausalLm);
        let model = lora.inject(model).unwrap();
        let next = ids
            .clone()
            .slice([0..batch, 1..seq])
            .reshape([batch * (seq - 1)]);
        run(model, steps, |m: &CausalLm| {
            let mut i = Gpt2Input::new(ids.clone());
            i.attention_mask = Some(mask.clone());
            let l = m.forward(i, None);
            let [_, _, v] = l.dims();
            ce(
                l.slice([0..batch, 0..seq - 1])
                    .reshape([batch * (seq - 1), v]),
                next.clone(),
            )
        });
    } else {
        let c = if arch == "minilm" {
            BertConfig {
                hidden_size: 384,
                num_hidden_layers: 6,
                intermediate_size: 1536,
                ..BertConfig::bert_base()
            }
        } else {
            BertConfig::roberta_base()
        };
        let model = bert::SequenceClassification::new(&c, &device);
        let mut lora = lora;
        lora.task_type = Some(TaskType::SequenceClassification);
        let model = lora.inject(model).unwrap();
        let classes = Tensor::<1, Int>::from_data(
            &(0..batch as i32).map(|i| i % 2).collect::<Vec<_>>()[..],
            &device,
        );
        run(model, steps, |m: &bert::SequenceClassification| {
            let mut i = EncoderInput::new(ids.clone());
            i.attention_mask = Some(mask.clone());
            ce(m.logits(i), classes.clone())
        });
    }
}
fn run<M: Module>(mut m: M, steps: usize, loss: impl Fn(&M) -> Tensor<1>) {
    println!("trainable {}", ParameterReport::of(&m).trainable());
    let mut opt = AdamWConfig::new().init();
    let (mut f, mut s) = (vec![], vec![]);
    for step in 0..steps + 2 {
        let t = Instant::now();
        let l = loss(&m);
        let v = l.clone().into_scalar::<f32>();
        let a = t.elapsed().as_secs_f64();
        let g = GradientsParams::from_grads(l.backward(), &m);
        let b = t.elapsed().as_secs_f64();
        m = opt.step(5e-4, m, g);
        let c = t.elapsed().as_secs_f64();
        if step >= 2 {
            f.push(a);
            s.push(c);
        }
        println!(
            "loss {v:.5} forward {a:.4} backward {:.4} optim {:.4}",
            b - a,
            c - b
        );
    }
    f.sort_by(f64::total_cmp);
    s.sort_by(f64::total_cmp);
    let rss = std::fs::read_to_string("/proc/self/status").unwrap();
    let rss = rss
        .lines()
        .find(|l| l.starts_with("VmHWM"))
        .unwrap()
        .to_string();
    println!(
        "forward median {:.4} best {:.4}; step median {:.4} best {:.4}; {rss}",
        f[f.len() / 2],
        f[0],
        s[s.len() / 2],
        s[0]
    );
}
