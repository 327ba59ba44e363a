"""Chat templates for tiny bases."""

# Roles in front, the answer ends with the sequence.
TURNS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}Assistant: {{ m.content }}</s>{% else %}"
    "{{ m.role }}: {{ m.content }} {% endif %}{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
