"""More of them in every container, and what is no VAE with a Gaussian q."""

from wild.layouts import Layout
from wild.networks import Recipe
from wild.notation import Variants, add, mlp, stack

IN_FILES: Variants = {}

add(
    IN_FILES,
    "lightning",
    mlp(
        "encoder.l1 784 512,encoder.l2 512 64,mu 64 2,log_var 64 2,decoder.l1 2 64,"
        "decoder.l2 64 512,decoder.l3 512 784"
    ),
    Recipe(
        "encoder.l1 relu encoder.l2 relu",
        "mu",
        "log_var",
        "decoder.l1 relu decoder.l2 relu decoder.l3",
    ),
    "Lightning",
)
_CONV3 = stack(
    "c3 encoder.0 1 32,c3 encoder.2 32 64,l fc_mu 3136 16,l fc_var 3136 16,l decoder_fc 16 3136,"
    "t3 decoder.0 64 32,t3 decoder.2 32 1"
)
_CONV3_RECIPE = Recipe(
    "encoder.0/s2p1 relu encoder.2/s2p1 relu",
    "fc_mu",
    "fc_var",
    "decoder_fc to:64x7x7 decoder.0^s2p1o1 relu decoder.2^s2p1o1",
)
add(IN_FILES, "data-parallel", _CONV3, _CONV3_RECIPE, "prefix module.")
add(IN_FILES, "float16-conv", _CONV3, _CONV3_RECIPE, "float16")
add(
    IN_FILES,
    "compiled",
    mlp("enc.0 784 200,enc.2 200 200,mu 200 20,logvar 200 20,dec.0 20 200,dec.2 200 784"),
    Recipe("enc.0 tanh enc.2 tanh", "mu", "logvar", "dec.0 tanh dec.2"),
    "prefix _orig_mod.",
)
add(
    IN_FILES,
    "bfloat16-mlp",
    mlp("encoder 784 400,mu 400 20,logvar 400 20,decoder1 20 400,decoder2 400 784"),
    Recipe("encoder relu", "mu", "logvar", "decoder1 relu decoder2"),
    "bfloat16",
)
add(
    IN_FILES,
    "safetensors-deep",
    stack(
        "l encoder.0 784 512,bn encoder.1 512,l encoder.4 512 256,bn encoder.5 256,"
        "l encoder.8 256 64,bn encoder.9 64,l fc_mu 64 16,l fc_logvar 64 16,l decoder.0 16 64,"
        "bn decoder.1 64,l decoder.4 64 256,bn decoder.5 256,l decoder.8 256 784"
    ),
    Recipe(
        "encoder.0 encoder.1 leaky drop encoder.4 encoder.5 leaky drop encoder.8 encoder.9 leaky",
        "fc_mu",
        "fc_logvar",
        "decoder.0 decoder.1 leaky drop decoder.4 decoder.5 leaky drop decoder.8",
        dataset="fashion-mnist",
    ),
    "safetensors",
)
_KERAS_CONV = [
    ("encoder/conv2d/kernel", (3, 3, 1, 32)),
    ("encoder/conv2d/bias", (32,)),
    ("encoder/conv2d_1/kernel", (3, 3, 32, 64)),
    ("encoder/conv2d_1/bias", (64,)),
    ("encoder/dense/kernel", (3136, 16)),
    ("encoder/dense/bias", (16,)),
    ("encoder/z_mean/kernel", (16, 2)),
    ("encoder/z_mean/bias", (2,)),
    ("encoder/z_log_var/kernel", (16, 2)),
    ("encoder/z_log_var/bias", (2,)),
    ("decoder/dense_1/kernel", (2, 3136)),
    ("decoder/dense_1/bias", (3136,)),
    ("decoder/conv2d_transpose/kernel", (3, 3, 64, 64)),
    ("decoder/conv2d_transpose/bias", (64,)),
    ("decoder/conv2d_transpose_1/kernel", (3, 3, 32, 64)),
    ("decoder/conv2d_transpose_1/bias", (32,)),
    ("decoder/conv2d_transpose_2/kernel", (3, 3, 1, 32)),
    ("decoder/conv2d_transpose_2/bias", (1,)),
]
add(  # the example of Keras' own pages
    IN_FILES,
    "keras-conv",
    _KERAS_CONV,
    Recipe(
        "encoder.conv2d/s2same relu encoder.conv2d_1/s2same relu last flatten encoder.dense relu",
        "encoder.z_mean",
        "encoder.z_log_var",
        "decoder.dense_1 relu to:7x7x64 first decoder.conv2d_transpose^s2same relu"
        " decoder.conv2d_transpose_1^s2same relu decoder.conv2d_transpose_2^s1same",
        n_images=3000,
    ),
    "Keras HDF5, weights only",
)
add(
    IN_FILES,
    "keras-3-mlp",
    [
        (f"{name}/vars/{n}", shape if n == 0 else shape[1:])
        for name, shape in {
            "encoder/layers/dense": (784, 256),
            "encoder/layers/dense_1": (256, 8),
            "encoder/layers/dense_2": (256, 8),
            "decoder/layers/dense": (8, 256),
            "decoder/layers/dense_1": (256, 784),
        }.items()
        for n in (0, 1)
    ],
    Recipe(
        "encoder.layers.dense.vars relu",
        "encoder.layers.dense_1.vars",
        "encoder.layers.dense_2.vars",
        "decoder.layers.dense.vars relu decoder.layers.dense_1.vars",
    ),
    "Keras 3 weights",
)
add(
    IN_FILES,
    "script-sigma",
    mlp("enc 784 256,mu 256 6,log_sigma 256 6,dec 6 256,out 256 784"),
    Recipe("enc tanh", "mu", "log_sigma", "dec tanh out", meaning="logsigma"),
    "TorchScript",
)
add(
    IN_FILES,
    "script-conditional",
    mlp("enc 794 256,mu 256 6,log_var 256 6,dec 16 256,out 256 784"),
    Recipe("+y enc relu", "mu", "log_var", "+y dec relu out", n_classes=10),
    "TorchScript",
)
add(
    IN_FILES,
    "whole-conv",
    stack(
        "c3 encoder.0 1 16,c3 encoder.3 16 32,l fc_mu 1568 8,l fc_logvar 1568 8,"
        "l decoder_in 8 1568,c3 decoder.1 32 16,c3 decoder.4 16 1"
    ),
    Recipe(
        "encoder.0/s1p1 leaky2@encoder.1 pool2@encoder.2 encoder.3/s1p1 leaky2@encoder.4"
        " pool2@encoder.5",
        "fc_mu",
        "fc_logvar",
        "decoder_in to:32x7x7 up2@decoder.0 decoder.1/s1p1 leaky2@decoder.2 up2@decoder.3"
        " decoder.4/s1p1",
        n_images=3000,
        output="sigmoid@decoder.5",
    ),
    "whole pickled module",
)
add(
    IN_FILES,
    "under-vae",
    mlp(
        "encoder.fc1 784 400,encoder.fc2 400 400,encoder.mean 400 32,encoder.std 400 32,"
        "decoder.fc1 32 400,decoder.fc2 400 400,decoder.fc3 400 784"
    ),
    Recipe(
        "encoder.fc1 elu encoder.fc2 elu",
        "encoder.mean",
        "encoder.std",
        "decoder.fc1 elu decoder.fc2 elu decoder.fc3",
        meaning="logsigma",
    ),
    "dict with the state dict under vae",
)
add(
    IN_FILES,
    "unpadded",
    stack(
        "c3 conv1 1 16,c3 conv2 16 32,l fc1 1152 64,l mu 64 4,l logvar 64 4,l fc2 4 64,"
        "l fc3 64 1152,t3 up1 32 16,t3 up2 16 8,t2 up3 8 1"
    ),
    Recipe(
        "conv1/s2 relu conv2/s2 relu fc1 relu",
        "mu",
        "logvar",
        "fc2 relu fc3 relu to:32x6x6 up1^s2 relu up2^s2 relu up3^s1",
    ),
)
add(
    IN_FILES,
    "onnx-pair",
    mlp("enc.0 784 256,mu 256 4,logvar 256 4,dec.0 4 256,dec.2 256 784"),
    Recipe("enc.0 relu", "mu", "logvar", "dec.0 relu dec.2"),
    "ONNX",
)
add(
    IN_FILES,
    "decoder-alone",
    mlp("enc 784 256,mu 256 2,lv 256 2,decoder.0 2 256,decoder.2 256 512,decoder.4 512 784"),
    Recipe("enc relu", "mu", "lv", "decoder.0 relu decoder.2 relu decoder.4"),
    kind="decoder only",
)

# What is no VAE with a Gaussian q: random weights, to be refused for the right reason.
OTHERS: dict[str, Layout] = {
    key: Layout(key, "state dict", kind, "image", "none", tuple(tensors))
    for key, kind, tensors in (
        (
            "vq-image",
            "VQ",
            [
                *stack("c4 encoder.0 3 32,c4 encoder.2 32 64,c1 pre_vq 64 64"),
                ("vq.embedding.weight", (512, 64)),
                *stack("t4 decoder.0 64 32,t4 decoder.2 32 3"),
            ],
        ),
        (
            "autoencoder",
            "AE without variance",
            mlp("encoder.0 784 128,encoder.2 128 16,decoder.0 16 128,decoder.2 128 784"),
        ),
        (
            "classifier",
            "classifier",
            stack("c3 conv1 1 32,c3 conv2 32 64,l fc1 9216 128,l fc2 128 10"),
        ),
    )
}
