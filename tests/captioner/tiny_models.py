"""Random models of a few hundred thousand parameters, built from their configurations: the real code, no downloads."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BertTokenizerFast,
    CLIPImageProcessor,
    GitConfig,
    GitForCausalLM,
    GitProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)
from transformers.utils import logging

from captioner.tokenizer import train_tokenizer
from captioner.video_coca import VideoCoCa, VideoCoCaConfig, special_ids

_SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}"
    "{% else %}<|vision_start|><|{{ part.type }}_pad|><|vision_end|>{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _chat_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["a red ball rolls over the floor"] * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=_SPECIAL,
    )


def _text_config(tokenizer, **more):
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in _SPECIAL}
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "bos_token_id": ids["<|im_start|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        **more,
    }


def save_qwen(folder):
    """Qwen2.5-VL: chat template, video with times."""
    logging.disable_progress_bar()
    tokenizer = _chat_tokenizer()
    size = {"shortest_edge": 28 * 28, "longest_edge": 56 * 56 * 8}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=14, merge_size=2, temporal_patch_size=2, size=size),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(
            patch_size=14, merge_size=2, temporal_patch_size=2, size=size, cap_pixels_per_frame=True
        ),
        chat_template=_TEMPLATE,
    )
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    vision = {"depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4, "out_hidden_size": 64}
    config = Qwen2_5_VLConfig(
        text_config=_text_config(tokenizer, rope_parameters=rope),
        vision_config={**vision, "fullatt_block_indexes": [1], "patch_size": 14},
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    )
    torch.manual_seed(0)
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def save_llava(folder):
    """LLaVA: chat template, pictures only."""
    logging.disable_progress_bar()
    tokenizer = _chat_tokenizer()
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=_TEMPLATE,
        image_token="<|image_pad|>",
        num_additional_image_tokens=1,
    )
    vision = {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = LlavaConfig(
        text_config={"model_type": "llama", **_text_config(tokenizer)},
        vision_config={**vision, "num_attention_heads": 4, "image_size": 32, "patch_size": 8, "projection_dim": 32},
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
    )
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def save_git(folder, *, num_frames=6):
    """GIT for video: no chat, no prompt."""
    logging.disable_progress_bar()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "ball", "rolls", "over", "floor", *"bcdefghij"]
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = GitConfig(
        vision_config={**vision, "image_size": 32, "patch_size": 8},
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_image_with_embedding=num_frames,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
        max_position_embeddings=64,
    )
    pictures = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    torch.manual_seed(0)
    GitForCausalLM(config).save_pretrained(folder)
    GitProcessor(pictures, BertTokenizerFast(vocab={word: i for i, word in enumerate(words)})).save_pretrained(folder)


def save_coca(folder):
    """Our own VideoCoCa."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["A red circle drifts left.", "A blue star grows."] * 2, vocab_size=290)
    towers = {"context_length": 20, "vocab_size": tokenizer.vocab_size, "width": 32, "heads": 4, "layers": 2}
    config = VideoCoCaConfig(
        embed_dim=16,
        text_cfg=towers | {"pad_id": tokenizer.pad_id},
        multimodal_cfg=towers,
        grid_cfg={"channels": (8, 16), "blocks": (0, 1), "hidden": 32, "scene_tokens": 4},
        frames={"num_frames": 4, "size_px": 16},
        kinds=["short", "descriptive"],
        **special_ids(tokenizer),
    )
    VideoCoCa(config, tokenizer).save_pretrained(folder)
