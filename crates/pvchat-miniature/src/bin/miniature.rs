//! Trains the base model of the miniature world: `make miniature` runs it.

use std::{ops::ControlFlow, path::PathBuf, time::Duration};

use burn::{module::Module, prelude::*};
use clap::{Parser, Subcommand};
use pvchat_data::random::SeededStream;
use pvchat_miniature::pretrain::{
    encoder::EncoderPretraining,
    encoder_task::{self, EncoderTask},
};
use pvchat_model::vision::miniature::MiniatureEncoderConfig;
use pvchat_train::{
    checkpoint::CheckpointFolder,
    run::{RunConfig, Schedule, run},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains the base model of the miniature world; a killed run resumes where it was.
#[derive(Parser)]
struct Arguments {
    /// Folder for checkpoints and logs.
    #[arg(long, default_value = "target/miniature")]
    folder: PathBuf,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Phase A: the vision encoder.
    Encoder {
        /// Optimiser steps of 32 clips.
        #[arg(long, default_value_t = 4000)]
        steps: usize,
    },
}

pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let device = Device::default().autodiff();
    match arguments.command {
        Command::Encoder { steps } => encoder(&arguments.folder, arguments.seed, steps, &device),
    }
}

fn encoder(folder: &std::path::Path, seed: u64, steps: usize, device: &Device) -> Result<(), Box<dyn std::error::Error>> {
    let config = MiniatureEncoderConfig::default();
    let stream = SeededStream::new(seed).derive("encoder");
    let model = EncoderPretraining::init(&config, &mut stream.derive("initial"), device);
    println!("parameters: {}", model.num_params());
    let mut task =
        EncoderTask { config: config.clone(), groups: 4, shards: 2, stream: stream.derive("data"), device: device.clone().inner() };
    let muon = encoder_task::muon_group().ok_or("parameter group")?;
    let run_config = RunConfig {
        steps,
        learning_rate: encoder_task::ADAMW_RATE,
        groups: vec![(muon, encoder_task::MUON_RATE)],
        schedule: Schedule { warm_up: 50, constant: 0.5, last: 0.02 },
        clip: 1.0,
        checkpoints: Some(CheckpointFolder::new(folder.join("encoder"))?),
        checkpoint_every: Duration::from_secs(60),
        fingerprint: [("seed".to_string(), seed.to_string()), ("config".to_string(), format!("{config:?}"))].into(),
    };
    let started = std::time::Instant::now();
    let mut sums = [0.0_f32; 5];
    let trained = run(model, encoder_task::optimizer(), &run_config, &mut task, device, |progress| {
        for report in progress.reports {
            let parts = [report.identity, report.facts, report.scene, report.contrastive, report.dense];
            for (sum, part) in sums.iter_mut().zip(parts) {
                *sum += part / progress.reports.len() as f32;
            }
        }
        if progress.step % 20 == 0 {
            let mean = sums.map(|sum| sum / 20.0);
            sums = [0.0; 5];
            println!(
                "{:5.0}s step {}/{} identity {:.3} facts {:.3} scene {:.3} contrastive {:.3} dense {:.3} norm {:.2}",
                started.elapsed().as_secs_f32(), progress.step, progress.steps, mean[0], mean[1], mean[2], mean[3], mean[4], progress.gradient_norm
            );
        }
        ControlFlow::Continue(())
    })?;
    println!("{}", encoder_task::evaluate(&trained, &config, 128, 1000, device));
    Ok(())
}
