"""Chat templates for tiny bases."""

# Roles in front, the answer ends with the sequence.
TURNS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}Assistant: {{ m.content }}</s>{% else %}"
    "{{ m.role }}: {{ m.content }} {% endif %}{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)

# In the style of real families, by name: the template, and the tokens that their tokenizers add.
FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    # Qwen: ChatML with a system message by default, and a switch that closes the thoughts before they begin.
    "chatml": (
        "{%- if messages[0].role != 'system' %}{{- '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{%- endif %}"
        "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
        "{%- if enable_thinking is defined and not enable_thinking %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
        "{%- endif %}",
        ("<|im_start|>", "<|im_end|>", "<think>", "</think>"),
    ),
    # Llama 3.1: a preamble with the day's date, the system message in it, contents stripped.
    "llama3": (
        "{{- bos_token }}{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}"
        "{%- if messages[0].role == 'system' %}{%- set system = messages[0].content | trim %}"
        "{%- set messages = messages[1:] %}{%- else %}{%- set system = '' %}{%- endif %}"
        "{{- '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + date_string + '\n\n' + system + '<|eot_id|>' }}"
        "{%- for m in messages %}"
        "{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}"
        "{%- endfor %}{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    # Mistral: no system message, turns in plain letters, no generation prompt.
    "mistral": (
        "{{ bos_token }}{% for m in messages %}"
        "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
        "{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}{% elif m.role == 'assistant' %}"
        "{{ m.content + eos_token }}{% else %}{{ raise_exception('only user and assistant') }}{% endif %}"
        "{% endfor %}",
        (),
    ),
    # Gemma: the assistant is "model", contents stripped, no system message.
    "gemma": (
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}{% set role = 'model' if m.role == 'assistant' else m.role %}"
        "{{ '<start_of_turn>' + role + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
        ("<start_of_turn>", "<end_of_turn>"),
    ),
}
