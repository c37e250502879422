"""The registry of task types and worker containers of the EAS pipeline, from XML and to it."""

import copy
import xml.etree.ElementTree as ET
from pathlib import Path

from ..errors import WrongUseError
from ..files import atomic_write
from .tasktype import task_type, task_type_names

ALL = "all"
RESOURCES = ("cpu", "gpu", "memory_gb")
# cores, GPUs and GB that a worker of each container asks for; those of the EAS pipeline, but for
# the cores of TLS, which were 20 whatever the machine
CONTAINERS = {
    "eas_base": (1, 0, 8),
    "eas_worker_bls_kovacs": (1, 0, 8),
    "eas_worker_bls_reference": (1, 0, 8),
    "eas_worker_dst_v26": (1, 0, 8),
    "eas_worker_dst_v29": (1, 0, 8),
    "eas_worker_exotrans": (1, 0, 8),
    "eas_worker_qats": (2, 0, 16),
    "eas_worker_synthesis_platosim": (1, 0, 8),
    "eas_worker_synthesis_psls_batman": (1, 0, 16),
    "eas_worker_tls": (1, 0, 16),
}


class TaskTypeList:
    """Which task types there are, and which containers can run them.

    Attributes
    ----------
    worker_containers : dict, name -> dict of ``cpu``, ``gpu``, ``memory_gb``, numbers
    task_list : dict, type -> set of containers
    container_capabilities : dict, container -> set of types
    """

    def __init__(self):
        self.worker_containers = {}
        self.task_list = {}
        self.container_capabilities = {}

    def add_container(self, name, cpu, gpu, memory_gb):
        """Enter a container.

        Parameters
        ----------
        name : str
        cpu, gpu : number of cores and GPUs
        memory_gb : GB
        """
        self.worker_containers[name] = {"cpu": cpu, "gpu": gpu, "memory_gb": memory_gb}
        self.container_capabilities.setdefault(name, set())

    def add_task_type(self, name, containers):
        """Enter a type; ``containers``: names, or ``'all'`` among them for every one."""
        chosen = set(self.worker_containers) if ALL in containers else set(containers)
        if unknown := chosen - set(self.worker_containers):
            raise WrongUseError(f"task type {name!r}: there is no container {sorted(unknown)[0]!r}")
        self.task_list[name] = chosen
        for container in chosen:
            self.container_capabilities[container].add(name)

    def worker_container_names(self):
        """Names of all containers."""
        return list(self.worker_containers)

    def task_type_names(self):
        """Names of all types."""
        return list(self.task_list)

    def containers_for_task(self, task_type_name):
        """The containers that can run a type."""
        return self.task_list[task_type_name]

    def tasks_for_container(self, container_name):
        """The types that a container can run."""
        return self.container_capabilities[container_name]

    @classmethod
    def built_in(cls):
        """The types of this package and of installed ones."""
        registry = cls()
        for name, resources in CONTAINERS.items():
            registry.add_container(name, *resources)
        for name in task_type_names():
            registry.add_task_type(name, task_type(name).containers)
        return registry

    @classmethod
    def read_from_xml(cls, input_xml_filename=None):
        """The registry in a file; without one, `built_in`.

        Raises
        ------
        WrongUseError : the file is no registry
        """
        if input_xml_filename is None:
            return cls.built_in()
        try:
            root = ET.fromstring(_without_entities(input_xml_filename))
        except (ET.ParseError, OSError) as error:
            raise WrongUseError(f"{input_xml_filename}: is no XML file ({error})") from None
        if root.tag != "task_type_registry":
            raise WrongUseError(
                f"{input_xml_filename}: root is <{root.tag}>, expected <task_type_registry>"
            )
        registry = cls()
        try:
            for item in root.iterfind("containers/container"):
                resources = item.find("resourceRequirements")
                values = [_number(resources.findtext(name)) for name in RESOURCES]
                registry.add_container(item.findtext("name").strip(), *values)
            for item in root.iterfind("tasks/task"):
                containers = [element.text.strip() for element in item.iterfind("container")]
                registry.add_task_type(item.findtext("name").strip(), containers)
        except (AttributeError, ValueError, TypeError) as error:
            raise WrongUseError(f"{input_xml_filename}: {error}") from None
        return registry

    def write_to_xml(self, output_xml_filename):
        """Write the registry; `read_from_xml` is the inverse."""
        root = ET.Element("task_type_registry")
        containers = ET.SubElement(root, "containers")
        for name, resources in self.worker_containers.items():
            item = ET.SubElement(containers, "container")
            ET.SubElement(item, "name").text = name
            required = ET.SubElement(item, "resourceRequirements")
            for key in RESOURCES:
                ET.SubElement(required, key).text = f"{resources[key]:g}"
        tasks = ET.SubElement(root, "tasks")
        everywhere = set(self.worker_containers)
        for name, chosen in self.task_list.items():
            item = ET.SubElement(tasks, "task")
            ET.SubElement(item, "name").text = name
            for container in [ALL] if chosen == everywhere and chosen else sorted(chosen):
                ET.SubElement(item, "container").text = container
        tree = ET.ElementTree(copy.copy(root))
        ET.indent(tree, "  ")
        with atomic_write(output_xml_filename) as part:
            tree.write(part, encoding="utf-8", xml_declaration=True)


def _without_entities(path):
    """The text of a file; one that declares entities, which may grow without bound, is refused."""
    text = Path(path).read_text(encoding="utf-8")
    if "<!ENTITY" in text or "<!DOCTYPE" in text:
        raise WrongUseError(f"{path}: document types are not accepted")
    return text


def _number(text):
    value = float(text)
    return int(value) if value == int(value) else value
