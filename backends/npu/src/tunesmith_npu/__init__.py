"""The backend npu: Ascend devices through torch-npu."""
