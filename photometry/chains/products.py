"""The public interface to products and their versions, with the files in the store."""

import logging
import time

import sqlalchemy as sa

from ..errors import WrongUseError
from . import filestore
from .objects import FileProduct, FileProductVersion
from .rows import allocate, chunks
from .schema import PRODUCTS, SEMANTIC_TYPES, VERSIONS
from .session import Session

log = logging.getLogger(__name__)

P, V = PRODUCTS.c, VERSIONS.c


class ProductMethods(Session):
    """What `database.TaskDatabaseConnection` knows of files."""

    # --- products

    def file_product_exists_in_db(self, product_id):
        """Whether there is such a product."""
        return bool(self._value(sa.select(sa.exists().where(P.productId == product_id))))

    def file_product_has_been_created(self, product_id):
        """Whether it has any version."""
        return bool(self._value(sa.select(sa.exists().where(V.productId == product_id))))

    def file_product_has_passed_qc(self, product_id):
        """Whether it has a version that has passed quality control."""
        query = sa.select(sa.exists().where(V.productId == product_id, V.passedQc))
        return bool(self._value(query))

    def file_product_by_filename(self, directory, filename):
        """Ids of the products of a directory and name: one, or none."""
        query = sa.select(P.productId).where(P.directoryName == directory, P.filename == filename)
        return [row.productId for row in self._rows(query)]

    def file_product_lookup(self, product_id):
        """A `FileProduct`, or None."""
        found = self._products(P.productId == product_id)
        return found[0] if found else None

    def _products_by_id(self, ids):
        found = {}
        for some in chunks(ids):
            found.update((item.product_id, item) for item in self._products(P.productId.in_(some)))
        return found

    def _products(self, where):
        query = (
            sa.select(PRODUCTS, SEMANTIC_TYPES.c.name)
            .join(SEMANTIC_TYPES, SEMANTIC_TYPES.c.semanticTypeId == P.semanticType)
            .where(where)
            .order_by(P.productId)
        )
        rows = self._rows(query)
        metadata = self._metadata_of("productId", [row.productId for row in rows])
        return [
            FileProduct(
                product_id=row.productId,
                generator_task=row.generatorTask,
                planned_time=row.plannedTime,
                directory=row.directoryName,
                filename=row.filename,
                semantic_type=row.name,
                mime_type=row.mimeType,
                metadata=metadata[row.productId],
            )
            for row in rows
        ]

    def file_product_register(
        self, generator_task, directory, filename, semantic_type,
        planned_time=None, mime_type=None, metadata=None,
    ):  # fmt: skip
        """Plan a product.

        Parameters
        ----------
        generator_task : id of the task that makes it
        directory, filename : str, inside the file store
        semantic_type : str, its role
        planned_time : s since 1970, by default now
        mime_type : str or None
        metadata : dict or None

        Returns
        -------
        int, its id
        """
        directory = filestore.check_directory(directory)
        filename = filestore.check_filename(filename)
        db = self._changing()
        if known := self.file_product_by_filename(directory, filename):
            raise WrongUseError(
                f"{directory}/{filename}: is planned already, as product {known[0]}"
            )
        product_id = allocate(db, PRODUCTS)
        db.execute(
            PRODUCTS.insert().values(
                productId=product_id,
                generatorTask=generator_task,
                plannedTime=time.time() if planned_time is None else planned_time,
                directoryName=directory,
                filename=filename,
                semanticType=self.registries.semantics.id(db, semantic_type),
                mimeType=mime_type,
            )
        )
        self.metadata_register(metadata or {}, product_id=product_id)
        return product_id

    def file_product_update(self, product_id, planned_time=None, mime_type=None, metadata=None):
        """Change fields of a product; None leaves one as it is.

        Parameters
        ----------
        product_id : int
        planned_time : s since 1970
        mime_type : str
        metadata : dict
        """
        values = {"plannedTime": planned_time, "mimeType": mime_type}
        values = {key: value for key, value in values.items() if value is not None}
        db = self._changing()
        if values:
            db.execute(sa.update(PRODUCTS).where(P.productId == product_id).values(**values))
        self.metadata_register(metadata or {}, product_id=product_id)

    def file_product_delete(self, product_id):
        """Delete a product with its versions and their files."""
        for version_id in self.file_version_by_product(product_id):
            self.file_version_delete(version_id)
        self._changing().execute(sa.delete(PRODUCTS).where(P.productId == product_id))

    # --- versions

    def file_version_exists_in_db(self, product_version_id):
        """Whether there is such a version."""
        return bool(
            self._value(sa.select(sa.exists().where(V.productVersionId == product_version_id)))
        )

    def file_version_exists_in_file_system(self, product_version_id):
        """Whether its file is there."""
        return self.file_version_path_for_id(product_version_id, must_exist=True) is not None

    def file_version_path_for_id(self, product_version_id, full_path=True, must_exist=False):
        """Path of a version's file, or None.

        Parameters
        ----------
        product_version_id : int
        full_path : bool; False: relative to the store
        must_exist : bool, None where the file is gone
        """
        query = (
            sa.select(P.directoryName, V.repositoryId)
            .join(PRODUCTS, P.productId == V.productId)
            .where(V.productVersionId == product_version_id)
        )
        row = self._reading().execute(query).first()
        if row is None:
            return None
        path = self.store.path(row.directoryName, row.repositoryId)
        if must_exist and not path.is_file():
            return None
        return str(path if full_path else path.relative_to(self.store.root))

    def file_version_by_product(self, product_id, attempt_id=None, must_have_passed_qc=False):
        """Ids of the versions of a product, oldest first.

        Parameters
        ----------
        product_id : int
        attempt_id : int, only of this attempt
        must_have_passed_qc : bool
        """
        query = sa.select(V.productVersionId).where(V.productId == product_id)
        if attempt_id is not None:
            query = query.where(V.generatedByTaskExecution == attempt_id)
        if must_have_passed_qc:
            query = query.where(V.passedQc)
        return [row.productVersionId for row in self._rows(query.order_by(V.productVersionId))]

    def file_version_lookup(self, product_version_id):
        """A `FileProductVersion`, or None."""
        found = self._versions(V.productVersionId == product_version_id)
        return found[0] if found else None

    def _versions(self, where):
        rows = self._rows(sa.select(VERSIONS).where(where).order_by(V.productVersionId))
        metadata = self._metadata_of("productVersionId", [row.productVersionId for row in rows])
        return [
            FileProductVersion(
                product_version_id=row.productVersionId,
                product_id=row.productId,
                generated_by_task_execution=row.generatedByTaskExecution,
                repository_id=row.repositoryId,
                created_time=row.createdTime,
                modified_time=row.modifiedTime,
                file_md5=row.fileMD5,
                file_size=row.fileSize,
                passed_qc=None if row.passedQc is None else bool(row.passedQc),
                metadata=metadata[row.productVersionId],
            )
            for row in rows
        ]

    @staticmethod
    def file_version_get_md5_hash(file_path):
        """Hexadecimal MD5 of a file."""
        return filestore.md5_of(file_path)

    @staticmethod
    def file_version_get_hash(timestamp, filename, *file_info_fields):
        """Name of a file in the store: UTC time and a hash, 32 characters with the extension."""
        return filestore.repository_id(timestamp, filename, *file_info_fields)

    def file_version_register(
        self, product_id, generated_by_task_execution, file_path_input, preserve=False,
        created_time=None, modified_time=None, passed_qc=None, metadata=None,
    ):  # fmt: skip
        """Put a file into the store as a version of a product. The file is in place before the row
        is.

        Parameters
        ----------
        product_id : int
        generated_by_task_execution : int, the attempt
        file_path_input : path
        preserve : bool, leave the file where it is
        created_time, modified_time : s since 1970, by default now
        passed_qc : bool, or None where it was not looked at
        metadata : dict or None

        Returns
        -------
        int, its id
        """
        product = self.file_product_lookup(product_id)
        if product is None:
            raise WrongUseError(f"there is no product {product_id}")
        now = time.time()
        fields = (product_id, generated_by_task_execution, now, time.monotonic_ns())
        name = filestore.repository_id(now, product.filename, *fields)
        size, md5 = self.store.add(product.directory, name, file_path_input, preserve=preserve)
        try:
            db = self._changing()
            version_id = allocate(db, VERSIONS)
            db.execute(
                VERSIONS.insert().values(
                    productVersionId=version_id,
                    productId=product_id,
                    generatedByTaskExecution=generated_by_task_execution,
                    repositoryId=name,
                    createdTime=now if created_time is None else created_time,
                    modifiedTime=now if modified_time is None else modified_time,
                    fileMD5=md5,
                    fileSize=size,
                    passedQc=passed_qc,
                )
            )
            self.metadata_register(metadata or {}, product_version_id=version_id)
        except BaseException:  # also when interrupted: a file without a row would never be found
            self.store.delete(product.directory, name)
            raise
        return version_id

    def file_version_update(
        self, product_version_id, file_path_input=None, preserve=False, modified_time=None,
        passed_qc=None, metadata=None,
    ):  # fmt: skip
        """Replace the content of a version, or change fields; None leaves one as it is.

        Parameters
        ----------
        product_version_id : int
        file_path_input : path of the new content
        preserve : bool, leave that file where it is
        modified_time : s since 1970
        passed_qc : bool
        metadata : dict
        """
        values = {"modifiedTime": modified_time, "passedQc": passed_qc}
        if file_path_input is not None:
            version = self.file_version_lookup(product_version_id)
            product = self.file_product_lookup(version.product_id)
            size, md5 = self.store.add(
                product.directory, version.repository_id, file_path_input, preserve=preserve
            )
            values |= {"fileSize": size, "fileMD5": md5}
            values["modifiedTime"] = time.time() if modified_time is None else modified_time
        values = {key: value for key, value in values.items() if value is not None}
        db = self._changing()
        if values:
            db.execute(
                sa.update(VERSIONS).where(V.productVersionId == product_version_id).values(**values)
            )
        self.metadata_register(metadata or {}, product_version_id=product_version_id)

    def file_version_delete(self, product_version_id):
        """Delete a version and its file; a file that is gone is only a warning."""
        path = self.file_version_path_for_id(product_version_id, full_path=False)
        if path is None:
            return
        directory, _, name = path.rpartition("/")
        if not self.store.delete(directory, name):
            log.warning("%s: was gone from the store", path)
        self._changing().execute(
            sa.delete(VERSIONS).where(V.productVersionId == product_version_id)
        )
