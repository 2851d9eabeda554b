"""A guard over local chat models, as LangChain uses them."""
