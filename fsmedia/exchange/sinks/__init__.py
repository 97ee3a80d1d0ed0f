"""What others emit, taken into a store: messages and media of instrumented LLM calls.

`genai` is a completion hook of OpenTelemetry's GenAI instrumentations, `openinference` a blob uploader of those of
OpenInference. Both write in the background to the store that `$FSMEDIA_URL` or an argument names, and never break or
hold up the program that is watched. Loaded by those packages through entry points, never by `import fsmedia`.
"""
