//! Lowers the CubeCL kernels of Mixture-of-Heads attention to PTX and assembles them, without a GPU.
//!
//! The argument is the folder for the `.ptx` files. Prints a table of what `ptxas` says of each kernel; fails at the first
//! that does not lower or assemble. `exp` is a function of NVIDIA's libdevice, which lowering reads from a CUDA toolkit:
//! `CUDA_PATH`, or where one is usually installed. `pip install nvidia-cuda-nvcc` is one too (site-packages/nvidia/cu13).

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
};

use cubecl::{
    Compiler,
    ir::{
        DeviceIdentity, ElemType, FloatKind, HardwareProperties, MemoryDeviceProperties, UIntKind, features::Features,
        nvidia::SmArch,
    },
    prelude::*,
    profile::TimingMethod,
};
use cubecl_llvm::{LlvmTarget, PlironArtifact, PlironCompiler, PlironOptions, nvptx::ptx_version::PtxVersion};
use kernels::{
    SizesCompilationArg, UNITS, backward_keys::BackwardKeys, backward_queries::BackwardQueries, forward::Forward,
    order_tokens::OrderTokens,
};

#[path = "../../src/moh/kernel/cube/kernels.rs"]
#[allow(dead_code, reason = "nothing is launched here")]
mod kernels;

/// The architectures: A100 and H100.
const ARCHITECTURES: [u32; 2] = [80, 90];
/// The CUDA version of the driver that shall load the PTX: 12.8.
const DRIVER: i32 = 12080;
/// Widths of a head: of BERT's, which a Q-Former has, of the vision encoder EVA's, and of large language models'.
const WIDTHS: [usize; 3] = [64, 88, 128];
const FLOATS: [FloatKind; 3] = [FloatKind::F32, FloatKind::F16, FloatKind::BF16];
/// How burn keeps booleans on CUDA.
const BOOL: ElemType = ElemType::UInt(UIntKind::U8);

fn main() -> ExitCode {
    let Err(error) = run() else { return ExitCode::SUCCESS };
    eprintln!("{error}");
    ExitCode::FAILURE
}

fn run() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("the folder for the .ptx files is missing")?);
    fs::create_dir_all(&folder)?;
    let ptxas = ptxas();
    if ptxas.is_none() {
        println!("No ptxas in $PTXAS, $CUDA_PATH/bin or PATH: nothing is assembled.");
        println!("pip install nvidia-cuda-nvcc brings one: CUDA_PATH=<site-packages>/nvidia/cu13.");
    }
    println!("| kernel | registers | stack, B | spilled, B | shared, B |\n|---|---|---|---|---|");
    let mut count = 0;
    for architecture in ARCHITECTURES {
        for (variant, kernel) in variants() {
            let name = format!("{variant}-sm{architecture}");
            let file = folder.join(format!("{name}.ptx"));
            let (ptx, shared) = lower(&*kernel, architecture).map_err(|error| format!("{name} does not lower: {error}"))?;
            fs::write(&file, ptx)?;
            let said = ptxas.as_deref().map(|ptxas| assemble(ptxas, &file, shared)).transpose();
            let columns = said.map_err(|error| format!("{name} does not assemble: {error}"))?;
            println!("| {name} | {} |", columns.as_deref().unwrap_or("| | |"));
            count += 1;
        }
    }
    println!("{count} kernels in {}, {}", folder.display(), if ptxas.is_some() { "assembled" } else { "not assembled" });
    Ok(())
}

/// A kernel as a launch on a GPU builds it: its tensors by name, then the other arguments in their order.
macro_rules! kernel {
    ($kernel:ty, [$($tensor:ident)*], $($argument:expr),*) => {{
        $(let $tensor = tensor();)*
        let settings = KernelSettings::new(*CubeDim::new_1d(UNITS), ExecutionMode::Checked, AddressType::U32);
        let kernel = <$kernel>::new(settings, device(), Arc::default(), $($tensor,)* $($argument),*);
        Box::new(kernel) as Box<dyn CubeKernel>
    }};
}

/// Every kernel for every value that is compiled in, named after them.
fn variants() -> Vec<(String, Box<dyn CubeKernel>)> {
    let mut all = Vec::new();
    for float in FLOATS.map(ElemType::Float) {
        all.push((format!("order_tokens-{float}"), kernel!(OrderTokens, [scales order counts], (), (), float)));
        let types = [float, BOOL];
        for width in WIDTHS {
            for causal in [false, true] {
                let suffix = format!("{float}-{width}{}", if causal { "-causal" } else { "" });
                let forward = kernel!(
                    Forward, [q k v hidden scales order counts output statistics],
                    sizes(), width, causal, types
                );
                all.push((format!("forward-{suffix}"), forward));
                let queries = kernel!(
                    BackwardQueries,
                    [q k v hidden scales order counts output statistics slope q_slope scale_slope products],
                    sizes(), width, causal, types
                );
                all.push((format!("backward_queries-{suffix}"), queries));
                let keys = kernel!(
                    BackwardKeys, [q k v hidden scales order counts statistics products slope k_slope v_slope],
                    sizes(), width, causal, types
                );
                all.push((format!("backward_keys-{suffix}"), keys));
            }
        }
    }
    all
}

/// A tensor of which only the type is known to the compiler, as in a launch.
fn tensor() -> TensorCompilationArg {
    TensorCompilationArg { meta: TensorMetaCompilationArg { len: (), rank: () }, buffer: BufferCompilationArg { inplace: None } }
}

fn sizes() -> SizesCompilationArg {
    SizesCompilationArg { heads: (), key_heads: (), tokens: (), keys: (), rows: (), root: () }
}

/// What the compiler may ask of a device. Our kernels ask nothing, so any will do.
fn device() -> Arc<DeviceProperties> {
    let hardware = HardwareProperties {
        load_width: 128,
        vector_register_count: None,
        plane_size_min: 32,
        plane_size_max: 32,
        max_bindings: 32,
        max_shared_memory_size: 48 << 10,
        max_cube_count: (i32::MAX as u32, u32::from(u16::MAX), u32::from(u16::MAX)),
        max_units_per_cube: 1024,
        max_cube_dim: (1024, 1024, 64),
        num_streaming_multiprocessors: None,
        num_tensor_cores: None,
        min_tensor_cores_dim: None,
        num_cpu_cores: None,
        last_level_cache_size: None,
        max_vector_size: VectorSize::MAX,
        cube_mma_reserved_shared_memory: 0,
    };
    let identity = DeviceIdentity { name: "none".into(), fingerprint: "none".into(), physical: None };
    let memory = MemoryDeviceProperties::new(u64::MAX, 512);
    Arc::new(DeviceProperties::new(Features::default(), memory, hardware, TimingMethod::Device, identity))
}

/// The PTX of a kernel and the shared memory, in bytes, that a launch asks for.
fn lower(kernel: &dyn CubeKernel, architecture: u32) -> Result<(Vec<u8>, usize), Box<dyn Error>> {
    let options = PlironOptions {
        sm_arch: Some(SmArch::new(architecture, true)),
        ptx_version: PtxVersion::for_driver(DRIVER),
        grid_constants: true, // as burn's CUDA backend sets it from sm_70 on
        ..Default::default()
    };
    let mut compiler = PlironCompiler { target: LlvmTarget::Nvptx };
    let artifact = compiler.compile(cubecl::define_kernel(kernel)?, &options)?;
    let PlironArtifact::NvptxCode(module) = artifact else { return Err("the compiler made no PTX".into()) };
    let ptx: Vec<u8> = module.ptx.iter().map(|&byte| byte as u8).take_while(|&byte| byte != 0).collect();
    Ok((ptx, module.shared_memory_size))
}

/// `$PTXAS`, or the one of `$CUDA_PATH`, or the one in `PATH`, if there is any.
fn ptxas() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("PTXAS") {
        return Some(program.into());
    }
    let of_toolkit = std::env::var_os("CUDA_PATH").map(|root| Path::new(&root).join("bin/ptxas"));
    let program = of_toolkit.filter(|file| file.is_file()).unwrap_or_else(|| "ptxas".into());
    Command::new(&program).arg("--version").output().is_ok().then_some(program)
}

/// Assembles a file; registers of a unit, bytes of its stack, bytes spilled (stores + loads) and bytes of shared memory.
fn assemble(ptxas: &Path, file: &Path, shared: usize) -> Result<String, Box<dyn Error>> {
    let text = fs::read_to_string(file)?;
    let target = text.lines().find_map(|line| line.strip_prefix(".target ")).ok_or("no .target in the PTX")?;
    let output = Command::new(ptxas).args(["-v", "-arch", target.trim(), "-o", "/dev/null"]).arg(file).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(said.into());
    }
    let number = |unit: &str| said.split(unit).next().filter(|before| before.len() < said.len()).map_or(0, last_number);
    let registers = number(" registers");
    if registers == 0 {
        return Err(format!("ptxas did not say how many registers: {said}").into());
    }
    let spilled = number(" bytes spill stores") + number(" bytes spill loads");
    Ok(format!("{registers} | {} | {spilled} | {}", number(" bytes stack frame"), number(" bytes smem") + shared))
}

/// The number that a text ends with.
fn last_number(text: &str) -> usize {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    text[digits..].parse().unwrap_or(0)
}
